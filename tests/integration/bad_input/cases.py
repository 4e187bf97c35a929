"""One bad request each, with the answer that it must get."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass

from shared.schemas.feedback import MAX_FEEDBACK_BYTES
from tests.integration.bad_input.process import BODY_LIMIT
from tests.integration.bad_input.wire import CHAT, KEY, MESSAGES, PROMPT, SECRET, chat, request

OK = 200


@dataclass(frozen=True)
class Case:
    """`row` is the catalogue's; `code` and `param` are checked where given."""

    row: int
    name: str
    parts: tuple[bytes, ...]
    status: tuple[int, ...]
    code: str | None = None
    param: str | None = None

    def __str__(self) -> str:
        return f"{self.row}-{self.name}"


def case(row: int, name: str, raw: bytes | tuple[bytes, ...], status: int | tuple[int, ...], *more: str | None) -> Case:
    """Return a case; `more` is code and param."""
    parts = raw if isinstance(raw, tuple) else (raw,)
    return Case(row, name, parts, status if isinstance(status, tuple) else (status,), *more)


def _chunked(*chunks: bytes, size: int | None = None) -> bytes:
    pieces = (
        chunks if size is None else [chunk[at : at + size] for chunk in chunks for at in range(0, len(chunk), size)]
    )
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    return request(drop=["content-length"], transfer_encoding="chunked") + body


def _packed(body: bytes, encoding: str) -> bytes:
    return request(body=body, content_encoding=encoding)


def _head(*lines: str | bytes, path: str = "/ready", method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    fields = b"".join((line.encode("latin-1") if isinstance(line, str) else line) + b"\r\n" for line in lines)
    return f"{method} {path} {version}\r\n".encode() + fields + b"\r\n"


GOOD = json.dumps({"model": "auto", "messages": MESSAGES}).encode()
TOO_MUCH = b" " * (BODY_LIMIT + 1)

HTTP = [
    case(4, "declared-too-large", (request(content_length=str(BODY_LIMIT + 1)),), 413, "body_too_large"),
    case(4, "declared-absurd", (request(content_length="9" * 18),), 413, "body_too_large"),
    case(5, "chunked-too-large", _chunked(TOO_MUCH), 413, "body_too_large"),
    case(6, "gzip-bomb", _packed(gzip.compress(b" " * 30 * BODY_LIMIT, 1), "gzip"), 413, "body_too_large"),
    case(6, "deflate-bomb", _packed(zlib.compress(b" " * 30 * BODY_LIMIT, 1), "deflate"), 413, "body_too_large"),
    case(7, "not-gzip", _packed(b"not gzip at all", "gzip"), 400, "bad_encoding"),
    case(7, "half-gzip", _packed(gzip.compress(GOOD)[:30], "gzip"), 400),
    case(7, "not-deflate", _packed(b"\xff\xff\xff\xff", "deflate"), 400, "bad_encoding"),
    case(8, "unknown-encoding", _packed(GOOD, "foo"), 415, "unsupported_encoding"),
    case(8, "brotli", _packed(GOOD, "br"), 415, "unsupported_encoding"),
    case(8, "double", _packed(gzip.compress(gzip.compress(GOOD)), "gzip, gzip"), 415, "unsupported_encoding"),
    case(8, "gzip-is-fine", _packed(gzip.compress(GOOD), "gzip"), OK),
    case(8, "deflate-is-fine", _packed(zlib.compress(GOOD), "deflate"), OK),
    case(9, "50k-chunks", _chunked(b'{"pad":"' + b"x" * 50_000 + b'",' + GOOD[1:], size=1), (OK, 413)),
    case(10, "length-and-chunked", request(body=GOOD, transfer_encoding="chunked"), 400, "bad_request"),
    case(10, "two-lengths", _head("host: x", "content-length: 3", "content-length: 4", method="POST"), 400),
    case(10, "plus-length", request(content_length="+2"), 400, "bad_request"),
    case(10, "negative-length", request(content_length="-1"), 400, "bad_request"),
    case(10, "chunked-identity", request(drop=["content-length"], transfer_encoding="chunked, identity"), 400),
    case(10, "bare-lf", b"GET /ready HTTP/1.1\nhost: x\n\n", 400, "bad_request"),
    case(10, "folded", _head("host: x", "x-a: b", " c"), 400, "bad_request"),
    case(10, "space-before-colon", _head("host: x", "x-a : b"), 400, "bad_request"),
    case(11, "no-host", b"GET /ready HTTP/1.1\r\nconnection: close\r\n\r\n", 400, "bad_request"),
    case(11, "two-hosts", _head("host: x", "host: y"), 400, "bad_request"),
    case(12, "host-with-path", request(body=GOOD, key=None, host="x/ready?"), (400, 401)),
    case(13, "long-header", _head("host: x", "x-long: " + "x" * 9000), (400, 431), "bad_request"),
    case(13, "many-headers", _head("host: x", *(f"x-{number}: 1" for number in range(200))), (400, 431)),
    case(13, "long-uri", _head("host: x", path="/" + "x" * 9000), (400, 414), "bad_request"),
    case(14, "nul-in-key", _head("host: x", b"authorization: Bearer " + SECRET.encode() + b"\0"), 400, "bad_request"),
    case(14, "cr-in-key", _head("host: x", b"authorization: Bearer " + SECRET.encode() + b"\rx"), 400, "bad_request"),
    case(14, "escape-in-key", _head("host: x", b"authorization: \x1b[2J" + SECRET.encode()), 400, "bad_request"),
    case(15, "http-9", _head("host: x", version="HTTP/9.9"), 400, "bad_request"),
    case(15, "tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64, 400, "bad_request"),
    case(15, "http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    case(16, "get-on-chat", request(method="GET"), 405, "method_not_allowed"),
    case(16, "delete-on-feedback", request("/feedback", method="DELETE"), 405, "method_not_allowed"),
    case(16, "rare-method", request("/feedback", method="PROPFIND"), 405, "method_not_allowed"),
    case(16, "invented-method", request("/feedback", method="BREW"), (400, 405)),
    case(17, "unknown-path", request("/nowhere", method="GET"), 404, "not_found"),
    case(17, "dots", request("/%2e%2e/%2e%2e/etc/passwd", method="GET"), 404, "not_found"),
    case(18, "expect-nonsense", request(body=GOOD, expect="foo"), 417, "expectation_failed"),
    case(18, "continue-too-large", request(content_length=str(BODY_LIMIT + 1), expect="100-continue"), 413),
    case(19, "upgrade", request("/ready", method="GET", connection="upgrade", upgrade="websocket"), OK),
    case(21, "text", request(body=GOOD, content_type="text/plain"), 415, "unsupported_media_type"),
    case(21, "form", request(body=GOOD, content_type="application/x-www-form-urlencoded"), 415),
    case(21, "multipart", request(body=b"--x--", content_type="multipart/form-data; boundary=x"), 415),
]


def _json(row: int, name: str, body: bytes, code: str = "invalid_json", **headers: str) -> list[Case]:
    """The same body on both endpoints that read one."""
    return [
        case(row, f"{name}{path.replace('/', '-')}", request(path, body, **headers), 400, code)
        for path in (CHAT, "/feedback")
        if path == CHAT or len(body) <= MAX_FEEDBACK_BYTES  # a rating that large is refused as too large
    ]


JSON = [
    *_json(22, "empty", b""),
    *_json(22, "blanks", b" \n "),
    *_json(23, "truncated", GOOD[:-5]),
    *_json(23, "trailing", GOOD + b"{}"),
    *_json(24, "array", b"[1]"),
    *_json(24, "string", b'"x"'),
    *_json(24, "null", b"null"),
    *_json(25, "bad-utf8", b'{"a": "\xff\xfe"}'),
    *_json(25, "bom", b"\xef\xbb\xbf" + GOOD),
    *_json(25, "utf-16", GOOD.decode().encode("utf-16")),
    *_json(25, "charset", GOOD, "unsupported_charset", content_type="application/json; charset=xyz"),
    *_json(25, "charset-base64", GOOD, "unsupported_charset", content_type="application/json; charset=base64"),
    *_json(25, "charset-utf16", GOOD, "unsupported_charset", content_type="application/json; charset=utf-16"),
    *_json(26, "deep-lists", b'{"a":' + b"[" * 100_000, "too_deep"),
    *_json(26, "deep-objects", b'{"a":' * 100_000, "too_deep"),
    *_json(26, "deep-enough", b'{"a":' * 40_000, "too_deep"),
    *_json(26, "wide", b'{"a":[' + b"1," * 200_000 + b"1]}", "too_complex"),
    *_json(27, "5000-digits", b'{"seed":' + b"7" * 5000 + b"}"),
    *_json(28, "nan", b'{"temperature": NaN}'),
    *_json(28, "infinity", b'{"temperature": -Infinity}'),
    *_json(28, "overflow", b'{"temperature": 1e999}'),
    *_json(29, "twice", b'{"model": "auto", "model": "auto"}', "duplicate_key"),
    *_json(29, "twice-nested", b'{"a": {"b": 1, "\\u0062": 2}}', "duplicate_key"),
    *_json(30, "lone-surrogate", b'{"a": "\\ud800"}'),
    case(30, "nul-in-text", chat(messages=[{"role": "user", "content": "a\0b"}]), OK),
    case(30, "pair-in-text", chat(messages=[{"role": "user", "content": "\U0001f600"}]), OK),
]


def _refused(row: int, name: str, param: str | None, code: str | None = None, **fields: object) -> Case:
    return case(row, name, chat(**fields), 400, code, param)


def _message(**fields: object) -> list[dict[str, object]]:
    return [fields]


UNSUPPORTED = "unsupported_parameter"
ELSEWHERE = "http://127.0.0.1:9/evil"

CHATS = [
    _refused(31, "api-base", "api_base", UNSUPPORTED, api_base=ELSEWHERE),
    _refused(31, "base-url", "base_url", UNSUPPORTED, base_url=ELSEWHERE),
    _refused(31, "api-key", "api_key", UNSUPPORTED, api_key=SECRET),
    _refused(31, "headers", "extra_headers", UNSUPPORTED, extra_headers={"authorization": SECRET}),
    _refused(31, "user-config", "user_config", UNSUPPORTED, user_config={"model_list": []}),
    _refused(31, "in-provider", "provider.base_url", UNSUPPORTED, provider={"base_url": ELSEWHERE}),
    case(31, "own-metadata", chat(metadata={"deep": [{"api_base": ELSEWHERE}]}), OK),
    case(31, "own-message", chat(messages=_message(role="user", content="x", base_url=ELSEWHERE)), OK),
    case(31, "own-schema", chat(guided_json={"properties": {"base_url": {"type": "string"}}}), OK),
    _refused(33, "no-messages", "messages", messages=None),
    _refused(33, "empty-messages", "messages", messages=[]),
    _refused(33, "object", "messages", messages={}),
    _refused(33, "string", "messages", messages="hello"),
    _refused(33, "message-is-text", "messages[0]", messages=["hello"]),
    _refused(33, "10k-messages", "messages", messages=MESSAGES * 10_000),
    _refused(34, "2-mb", "messages", "context_length_exceeded",
             messages=_message(role="user", content="x" * 2_000_000)),
    *(case(35, f"upstreams-{number}", chat(max_tokens=most, max_completion_tokens=most), OK)
      for number, most in enumerate((-1, 0, 100.0, None))),
    case(35, "upstreams-no", chat(max_tokens=10**9), 400),
    _refused(35, "text", "max_tokens", max_tokens="x"),
    _refused(35, "new-name", "max_completion_tokens", max_completion_tokens="x"),
    _refused(35, "true", "max_tokens", max_tokens=True),
    _refused(36, "thousand", "n", n=1000),
    case(37, "upstreams-ranges", chat(temperature=2.5, top_k=-1, top_p=1.5, user="x" * 5000, seed=1.0), OK),
    _refused(37, "hot", "temperature", temperature="hot"),
    _refused(37, "true-heat", "temperature", temperature=True),
    _refused(37, "yes", "stream", stream="yes"),
    _refused(37, "one", "stream", stream=1),
    _refused(37, "true-n", "n", n=True),
    case(38, "unknown-model", chat(model="nobody/nothing"), 404, "model_not_found", "model"),
    case(38, "unknown-models", chat(models=["nobody/nothing"]), 404, "model_not_found", "models"),
    _refused(38, "10-kb", "model", model="x" * 10_000),
    _refused(38, "newline", "model", model="a\nb"),
    _refused(38, "number", "model", model=7),
    _refused(39, "no-role", "messages[0].role", messages=_message(content="x")),
    _refused(39, "number-role", "messages[0].role", messages=_message(role=7, content="x")),
    case(39, "upstreams-role", chat(messages=_message(role="alien", content="x")), OK),
    case(39, "upstreams-null", chat(messages=_message(role="user", content=None)), (OK, 400)),
    case(39, "upstreams-number", chat(messages=_message(role="user", content=7)), (OK, 400)),
    case(39, "upstreams-no-parts", chat(messages=_message(role="user", content=[])), (OK, 400)),
    case(39, "upstreams-odd-part", chat(messages=_message(role="user", content=["x", 7, {}])), (OK, 400)),
    case(40, "unknown-fields", chat(vendor_field={"deep": [1, 2]}), OK),
    case(40, "provider", chat(provider={"order": ["x"], "foo": 1}), OK),
    case(40, "plugin", chat(plugins=[{"id": "file-parser", "pdf": {"engine": "native"}}]), OK),
    _refused(40, "route", "route", UNSUPPORTED, route="fallback"),
    _refused(40, "plugins", "plugins[0].id", UNSUPPORTED, plugins=[{"id": "web"}]),
    case(40, "privacy-wishes", chat(provider={"data_collection": "deny"}), OK),
]  # fmt: skip

ACCESS = [
    case(41, "no-key", request(body=GOOD, key=None), 401, "missing_api_key"),
    case(41, "empty", request(body=GOOD, key=""), 401, "missing_api_key"),
    case(41, "basic", request(body=GOOD, authorization="Basic eDp5"), 401, "missing_api_key"),
    case(41, "lower-case-scheme", request(body=GOOD, authorization=f"bearer {KEY}"), OK),
    case(42, "wrong", request(body=GOOD, key=SECRET), 401, "invalid_api_key"),
    case(42, "prefix", request(body=GOOD, key=KEY[:-1]), 401, "invalid_api_key"),
    case(42, "longer", request(body=GOOD, key=KEY + "x"), 401, "invalid_api_key"),
    case(42, "blanks-before", request(body=GOOD, key=f"  {KEY}"), OK),
    case(42, "inner-space", request(body=GOOD, key=f"{KEY[:4]} {KEY[4:]}"), 401, "invalid_api_key"),
    case(43, "sql", request(body=GOOD, key="' OR 1=1 --"), 401, "invalid_api_key"),
    case(43, "unicode", request(body=GOOD, key="k\xe9y"), 401, "invalid_api_key"),
    case(44, "twice", request(body=GOOD).replace(b"host:", f"authorization: Bearer {KEY}\r\nhost:".encode()),
         (400, 401)),
    case(45, "in-query", request(f"{CHAT}?api_key={SECRET}&key={KEY}", GOOD, key=None), 401),
    *(case(49, f"id-{number}", request(f"{where}/{text}", method="GET"), 404, None)
      for where in ("/requests", "/metrics")
      for number, text in enumerate(("..%2f", "%00", "%ff", "x" * 5000, "*", "a%0ab", "unknown-id", "%2e%2e%2fready"))),
]  # fmt: skip


def rating(**fields: object) -> bytes:
    """Return a rating."""
    return request("/feedback", {"request_id": "some-request", "score": 0.5, **fields})


SCORES = ["0.9", True, False, None, 1.0001, -1, 1e308, [], {}]

FEEDBACK = [
    case(53, "unknown", rating(request_id="never-seen"), 404, "request_not_found"),
    case(53, "no-such-session", request("/feedback", {"session_id": "s", "score": 1}), 404, "session_not_found"),
    *(case(55, json.dumps(score), rating(score=score), 400, None, "score") for score in SCORES),
    case(55, "nan", request("/feedback", b'{"request_id": "x", "score": NaN}'), 400, "invalid_json"),
    case(56, "neither", request("/feedback", {"request_id": "some-request"}), 400, None, "score"),
    case(56, "no-id", request("/feedback", {"score": 1}), 400, None, "request_id"),
    *(case(56, f"bad-id-{number}", rating(request_id=value), 400, None, "request_id")
      for number, value in enumerate((7, "", "x" * 129, "a b", "a\n", "*?", None, "\u00e9"))),
    case(63, "20-kb", rating(feedback_text="x" * 20_000), 413, "body_too_large", "feedback_text"),
    case(63, "1-mb", rating(feedback_text="x" * 1_000_000), 413, "body_too_large"),
    case(65, "batch", request("/feedback", json.dumps([{"request_id": "x" * 36, "score": 0.5}] * 10_000).encode()),
         413, "body_too_large"),
    *(case(65, f"batch-of-{number}", request("/feedback", json.dumps([0] * number).encode()), 400, "invalid_value")
      for number in (0, 1001)),
    case(65, "no-object", request("/feedback", b"5"), 400, "invalid_json"),
    *(case(56, f"bad-session-{number}", request("/feedback", {"session_id": name, "score": 1}), 400, None, "session_id")
      for number, name in enumerate((7, "", "x" * 129))),
    case(56, "both", rating(session_id="s"), 400, "invalid_value", "session_id"),
    *(case(56, f"bad-source-{number}", rating(source=value), 400, None, "source")
      for number, value in enumerate((7, None, "", "session", "User"))),
    case(56, "source-of-others", rating(source="eval"), 403, "source_not_allowed", "source"),
    *(case(58, f"key-{number}", request("/feedback", {"request_id": "some-request", "score": 0.5}, idempotency_key=key),
           400, "invalid_value", "Idempotency-Key")
      for number, key in enumerate(("", "x" * 256, "r\xe9sum\xe9"))),
    case(67, "no-links-here", request("/feedback/x.y", {"score": 1}, key=None), 404, "not_found"),
    case(63, "not-text", rating(feedback_text=7), 400, None, "feedback_text"),
]  # fmt: skip


def _named(name: str | bytes) -> bytes:
    value = name.encode("latin-1") if isinstance(name, str) else name
    return request(body=GOOD).replace(b"host:", b"x-request-id: " + value + b"\r\nhost:", 1)


IDS = [
    case(68, "missing", request("/chat/completions", GOOD), 400, "missing_request_id"),
    case(68, "newline", _named("a\nb"), 400, "bad_request"),
    case(68, "carriage-return", _named("a\rb"), 400, "bad_request"),
    case(68, "tab", _named("a\tb"), OK),
    case(68, "5-kb", _named("x" * 5000), OK),
    case(68, "10-kb", _named("x" * 10_000), 400, "bad_request"),
    case(68, "non-ascii", _named(b"r\xc3\xa9sum\xc3\xa9"), OK),
    case(68, "invalid-where-needed", request("/chat/completions", GOOD, x_request_id="a b"), 400, "missing_request_id"),
    case(70, "jndi", chat(user="${jndi:ldap://127.0.0.1/x}"), OK),
    case(70, "json-breaker", chat(model='"}\x7f{"level":"critical'), 400, None, "model"),
    case(70, "ansi", request(body=GOOD, user_agent='\x7f${jndi:x}"}'), (OK, 400)),
]  # fmt: skip

ASIDE = [
    *(case(33, f"session-{number}", chat(session_id=value), 400, None, "session_id")
      for number, value in enumerate(("", "x" * 129, 7, ["x"]))),
    case(33, "session-header", request(body=GOOD, x_session_id="x" * 129), 400, "invalid_value", "x-session-id"),
    case(33, "explore-header", request(body=GOOD, x_router_explore="maybe"), 400, "invalid_value", "x-router-explore"),
    case(33, "evaluate-header", request(body=GOOD, x_router_evaluate="no"), 400, "invalid_value", "x-router-evaluate"),
    case(38, "dry-run", request("/route", {"messages": [{"role": "user", "content": "x"}], "model": "no/such"}), 404,
         "model_not_found"),
    case(22, "dry-run", request("/v1/route", b""), 400, "invalid_json"),
    case(41, "dry-run", request("/route", GOOD, key=None), 401, "missing_api_key"),
]  # fmt: skip
"""What goes beside a chat request, and the dry run."""

CASES = [*HTTP, *JSON, *CHATS, *ACCESS, *FEEDBACK, *IDS, *ASIDE]
FORBIDDEN_IN_LOGS = (SECRET, PROMPT, KEY)
