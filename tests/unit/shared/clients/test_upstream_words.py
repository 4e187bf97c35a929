"""Reasons in error bodies: found in every known shape, and passed on without secrets."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import orjson
import pytest

from shared.clients.masking import MAX_CHARS, Mask, secrets_of
from shared.clients.upstream_errors import MAX_CAP_REST_S, MAX_RETRY_AFTER_S, of_error_body, of_status
from shared.clients.upstream_words import words_of_body

KEYS = ("Zx9/local+key~42", "Zx9localkey42", "left-10.20.30.40-right")
"""No pattern knows them: odd, plain enough for an error's code, and with an address inside."""
SHAPES: dict[str, object] = {
    "OpenAI": {"error": {"message": "REASON", "type": "invalid_request_error", "param": None, "code": None}},
    "OpenRouter, raw text": {"error": {"message": "Provider returned error", "metadata": {"raw": "REASON"}}},
    "OpenRouter, raw JSON": {"error": {"message": "Provider returned error",
                                       "metadata": {"raw": '{"error": {"message": "REASON"}}'}}},
    "OpenRouter, raw in raw": {"error": {"message": "x", "metadata": {
        "raw": json.dumps({"error": {"message": json.dumps({"error": {"message": "REASON"}})}})}}},
    "OpenRouter, raw object": {"error": {"message": "x", "metadata": {"raw": {"detail": "REASON"}}}},
    "FastAPI, text": {"detail": "REASON"},
    "FastAPI, list": {"detail": [{"loc": ["body", "x"], "msg": "REASON", "type": "missing"}]},
    "FastAPI, object": {"detail": {"error": {"message": "REASON"}}},
    "Mistral, vLLM": {"object": "error", "message": "REASON", "type": "invalid", "code": 3280},
    "Mistral, FastAPI inside": {"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "REASON"}]}},
    "Google's array": [{"error": {"code": 400, "message": "REASON", "status": "INVALID_ARGUMENT"}}],
    "message": {"message": "REASON"},
    "error text": {"error": "REASON"},
    "Spring": {"status": 400, "error": "Bad Request", "message": "REASON", "path": "/"},
    "errors, texts": {"errors": ["REASON"]},
    "errors, objects": {"errors": [{"message": "REASON", "code": 7003}], "success": False},
    "a text": "REASON",
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reason_is_found_in_every_shape(shape: str) -> None:
    """However it is wrapped, the client reads it in OpenAI's shape."""
    error = of_status(400, {"content-type": "application/json"}, json.dumps(SHAPES[shape]).encode())
    assert error.relay is not None
    told = orjson.loads(error.relay)["error"]
    assert "REASON" in told["message"]
    assert '"' not in told["message"], "a reason is a sentence, not JSON"
    assert error.reason == told["message"]


def test_plain_text_is_a_reason_and_html_is_not() -> None:
    """A proxy's page says nothing of the request."""
    assert words_of_body(b"REASON", {}).text == "REASON"
    for page, kind in ((b"<html>REASON</html>", ""), (b"  <!doctype html>REASON", ""), (b"REASON", "text/html")):
        assert words_of_body(page, {"content-type": kind}).text == ""
    inside = {"error": {"message": "x", "metadata": {"raw": "<html>REASON</html>"}}}
    assert words_of_body(orjson.dumps(inside), {}).text == "x"


def test_facts_of_the_inner_error_are_kept() -> None:
    """The provider's own code and param, where the router in front of it has none."""
    raw = json.dumps({"error": {"message": "long", "code": "context_length_exceeded", "param": "messages"}})
    error = of_status(400, {}, orjson.dumps({"error": {"message": "x", "code": 400, "metadata": {"raw": raw}}}))
    assert error.relay is not None
    told = orjson.loads(error.relay)["error"]
    assert (told["code"], told["param"], error.feature) == ("context_length_exceeded", "messages", "context")


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"null",
            b"[]",
            b"{}",
            b'{"error": {}}',
            b'{"error": [[[[[[[["x"]]]]]]]]}',
            b'{"error": {"message": 5}}',
        ),
        *(b"[" * 5000, b'{"error":' * 3000, b"\xff\xfe"),
    ],
)
def test_no_body_is_too_odd(body: bytes) -> None:
    """An upstream's nonsense is a refusal without a reason."""
    error = of_status(400, {}, body)
    assert error.relay is not None
    assert orjson.loads(error.relay)["error"]["message"]


# -- secrets ---------------------------------------------------------------------------------


def forms(secret: str) -> list[str]:
    once = quote(secret, safe="")
    return [secret, once, once.lower(), quote(once, safe=""), "".join(f"%{ord(each):02X}" for each in secret),
            "".join(f"\\u{ord(each):04x}" for each in secret), secret.replace("/", "\\/"), secret.upper()]  # fmt: skip


@pytest.mark.parametrize(("key", "form"), [(key, form) for key in KEYS for form in forms(key)])
def test_our_key_never_leaves_whatever_it_looks_like(key: str, form: str) -> None:
    """Plain, encoded, escaped; under each status, and in an error under 200 with a status of its own or none."""
    mask = Mask(secrets_of("https://upstream.example/v1", key))
    assert mask(f"key {form} is wrong") == "key *** is wrong"
    said = {"message": f"bad {form}", "code": form, "param": form}
    errors = [of_status(status, {}, orjson.dumps({"error": said}), mask=mask)
              for status in (400, 402, 403, 404, 413, 422, 429, 500)]  # fmt: skip
    errors += [of_error_body({**said, "status": status}, mask=mask) for status in (400, 422, 500)]
    errors.append(of_error_body(said, mask=mask))
    for error in errors:
        told = f"{error} {error.reason} {(error.relay or b'').decode()}"
        assert "bad ***" in told, "the reason itself is relayed"
        assert form not in told
        assert key not in told


def test_credentials_and_host_of_the_address_never_leave() -> None:
    """`OPENROUTER_BASE_URL` may hold a name and a password; its host is not shown either."""
    mask = Mask(secrets_of("https://na%40me:pa%2Fss-word@llm.internal:8443/v1", None))
    pair = "bmFAbWU6cGEvc3Mtd29yZA=="
    for secret in ("na@me", "pa/ss-word", "pa%2Fss-word", "llm.internal", pair):
        assert mask(f"x {secret} y") == "x *** y"


@pytest.mark.parametrize(
    "secret",
    ["https://user:pw@host/path?key=1", "HTTP://10.1.2.3", "redis://h:1", "https%3A%2F%2Fhost%2Fx", "sk-or-v1-0a1b",
     "sk-proj-abc***xyz", "Bearer abc.def", "bearer%20abcdef", "gsk_0a1b2c3d4e5f", "AIzaSyA0123456789abcdef",
     "org-Ab12Cd34", "10.20.30.40:8080", "fe80::1:2"],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    """Addresses and other people's keys."""
    assert Mask()(f"see {secret} now") == "see *** now"


@pytest.mark.parametrize("text", ["max_tokens must be 1.2.3 or 12:30:45", "user-provided risk-free task_id", "a: b, c"])
def test_plain_words_stay(text: str) -> None:
    """A reason that is masked completely is useless."""
    assert Mask(["x", "ab"])(text) == text


def test_a_reason_is_one_line_and_bounded() -> None:
    """No control character, no direction mark, no half surrogate, no novel; a secret at the cut is no way out."""
    assert Mask()("a\x00b\r\nc\x1b[31m\u202ed\x7f\x85e") == "a b c [31m d e"
    assert Mask()("\ud83d!") == "?!"
    assert len(Mask()("y" * 10_000)) == MAX_CHARS
    long = "http://" + "z" * 65_520 + " " + KEYS[0]
    assert KEYS[0][:4] not in Mask([KEYS[0]])(long)


# -- how long to wait ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "30000"}, 30, 30),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25, 0.25),
        ({"retry-after": "999999999"}, MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
        ({"x-ratelimit-reset": "MS+20"}, 15, 20),
        ({"x-ratelimit-reset": "S+20"}, 15, 20),
        ({"x-ratelimit-reset": "S+90000"}, MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
        ({"x-ratelimit-reset": "S-100"}, 5, 5),
        ({"x-ratelimit-reset": "never", "retry-after-ms": "nan"}, 5, 5),
        ({}, 5, 5),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["headers", "metadata"])
def test_a_rate_limit_says_how_long_it_lasts(headers: dict[str, str], low: float, high: float, inside: bool) -> None:
    """`Retry-After`, its milliseconds, and OpenRouter's reset, as header or in the error's metadata."""
    headers = {name: _instant(value) for name, value in headers.items()}
    metadata = {"headers": {name.title(): value for name, value in headers.items()}} if inside else {}
    raw = orjson.dumps({"error": {"message": "busy", "metadata": metadata}})
    error = of_status(429, {} if inside else headers, raw)
    assert low <= error.cool_s <= high
    assert not error.free_cap


@pytest.mark.parametrize(
    ("limit", "most"),
    [("free-models-per-min", MAX_RETRY_AFTER_S), ("free-models-per-day-high-balance", MAX_CAP_REST_S)],
)
def test_a_limit_of_all_free_models_lasts_until_its_reset(limit: str, most: float) -> None:
    """A day's is asked about again each hour. Without a reset only the one model rests."""
    words = {"message": f"Rate limit exceeded: {limit}", "code": 429}
    reset = {"headers": {"X-RateLimit-Reset": _instant("MS+86000"), "X-RateLimit-Remaining": "0"}}
    error = of_status(429, {}, orjson.dumps({"error": {**words, "metadata": reset}}))
    assert (error.free_cap, error.cool_s) == (True, most)
    error = of_status(429, {}, orjson.dumps({"error": words}))
    assert (error.free_cap, error.cool_s) == (False, 5.0)


def _instant(value: str) -> str:
    unit, sign, seconds = value.partition("+") if "+" in value else value.partition("-")
    if not sign or unit not in ("MS", "S"):
        return value
    at = time.time() + float(sign + seconds)
    return str(int(at * 1000)) if unit == "MS" else str(int(at))
