"""Laws of the JSON reader and of the event parser, for any input that Hypothesis thinks of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits.quotas import answer_tokens, prompt_tokens
from shared.clients.sse import EventParser
from shared.errors import InvalidRequest
from shared.schemas import long_json, strict_json
from shared.schemas.chat import parse_chat
from shared.schemas.feedback import FeedbackRequest, parse_feedback
from shared.schemas.ids import is_request_id, uuid7
from shared.schemas.long_json import MAX_DEPTH, MAX_MARKS
from shared.schemas.strict_json import load_object

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def refusal(raw: bytes) -> str | None:
    """Return the code with which a body is refused, or None; anything but a refusal is a crash and fails the test."""
    error = raised(lambda: load_object(raw))
    return None if error is None else error.code


def raised(parse: Callable[[], object]) -> InvalidRequest | None:
    """Return the refusal of `parse`, or None where it succeeds or there is nothing to parse."""
    try:
        parse()
    except InvalidRequest as error:
        return error
    except orjson.JSONEncodeError:
        pass
    return None


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values), st.booleans())
def test_what_is_json_comes_back_unchanged(body: dict[str, Any], escaped: bool) -> None:
    """Every object that is finite, in 64 bits and not too deep is read as the standard library reads it."""
    raw = json.dumps(body, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(orjson.dumps(body))
    except orjson.JSONEncodeError:  # half a surrogate pair somewhere
        assert refusal(raw) == "invalid_json"
        return
    assert load_object(raw) == expected


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\\\u0d8 \n1eE.-+naNIity', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Nothing crashes the reader; what it accepts is an object that orjson accepts, too."""
    if refusal(raw) is None:
        assert isinstance(orjson.loads(raw), dict)


@given(st.integers(1, 3 * MAX_DEPTH), st.sampled_from([b"[", b'{"a":']), texts)
def test_depth_is_bounded_exactly(depth: int, opening: bytes, text: str) -> None:
    """Brackets count where they nest, not where they stand in a string."""
    closing = b"]" if opening == b"[" else b"}"
    inner = opening * depth + b"1" + closing * depth
    raw = b'{"text":' + orjson.dumps(text + "[{" * 100) + b',"deep":' + inner + b"}"
    assert refusal(raw) == ("too_deep" if depth + 1 > MAX_DEPTH else None)


@given(st.text(min_size=1, max_size=5), st.integers(0, 3))
def test_a_key_is_named_once(key: str, depth: int) -> None:
    """Duplicates are found at every depth, however the key is spelled."""
    name = json.dumps(key)
    inner = f'{{{name}: 1, "-": 2, {name}: 3}}'
    for _ in range(depth):
        inner = f'{{"x": {inner}}}'
    assert refusal(inner.encode("utf-8", "surrogatepass")) in {"duplicate_key", "invalid_json"} or key == "-"


@given(st.integers(), st.integers(0, 3))
def test_integers_stay_exact(number: int, depth: int) -> None:
    """No integer is silently turned into a float; one beyond 64 bits goes on digit by digit."""
    raw = b'{"n":%s%d%s}' % (b"[" * depth, number, b"]" * depth)
    assert orjson.dumps(load_object(raw)) == raw


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**4000])
def test_a_large_integer_goes_on_from_a_long_document(number: int) -> None:
    """The other reader keeps it, too; only one of thousands of digits is refused."""
    padding = b'"' + b"x\\n" * 40_000 + b'"'
    raw = b'{"a":%s,"n":%d,"list":[%s0]}' % (padding, number, b"0," * MAX_MARKS)
    assert refusal(raw) == "too_complex"
    raw = b'{"a":%s,"n":%d,"list":[%s0]}' % (padding, number, b"0," * 50_000)
    assert orjson.dumps(load_object(raw)) == raw
    assert refusal(b'{"n":%s}' % (b"7" * 5000)) == "invalid_json"


@given(st.dictionaries(st.sampled_from(["messages", "model", "stream", "n", "temperature", "models", "max_tokens",
                                        "stream_options", "tools", "api_base", "provider"]), values))  # fmt: skip
def test_a_chat_body_is_read_or_refused(body: dict[str, Any]) -> None:
    """Any object gives a request or a refusal that names its field; never anything else."""
    error = raised(lambda: parse_chat(orjson.dumps(body)))
    assert error is None or error.code


FREE = [
    *("top_k", "seed", "user", "metadata", "guided_json", "tools", "tool_choice", "logit_bias", "store", "prediction"),
    *("service_tier", "web_search_options", "modalities", "prompt_cache_key", "response_format"),
]
SAID = ["content", "name", "tool_calls", "tool_call_id", "reasoning_details", "api_key"]
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "alien", ""])
messages = st.lists(
    st.builds(
        lambda role, more: {**more, "role": role}, ROLES, st.dictionaries(st.sampled_from(SAID), values, max_size=4)
    ),
    min_size=1,
    max_size=4,
)


@given(messages, st.dictionaries(st.sampled_from(FREE), values, max_size=4),
       st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
def test_what_the_router_does_not_use_goes_on_unchanged(said: list[Any], extra: dict[str, Any], most: Any) -> None:
    """Whatever messages hold but for their role, and whatever other fields are: the upstream judges it."""
    body = {"messages": said, "max_tokens": most, **extra}
    raw = json.dumps(body).encode()
    try:
        orjson.dumps(extra), orjson.dumps(said)
    except orjson.JSONEncodeError:  # half a surrogate pair somewhere
        return
    chat = parse_chat(raw)
    assert json.loads(orjson.dumps(chat.body)) == body
    assert not chat.ignored
    assert (prompt_tokens(chat.body), answer_tokens(chat.body)) >= (1, 1)


@given(texts, values)
def test_unknown_fields_go_on_untouched(text: str, extra: Any) -> None:
    """The upstream gets what the client sent, except for the routing fields."""
    body = {"messages": [{"role": "user", "content": text}], "model": "auto", "vendor_field": extra, "stream": True}
    try:
        raw = orjson.dumps(body)
    except orjson.JSONEncodeError:
        return
    chat = parse_chat(raw)
    expected = orjson.loads(raw)
    del expected["model"]
    assert orjson.loads(orjson.dumps(chat.body)) == expected
    assert (chat.routing_text, chat.model, chat.stream) == (text, None, True)


@given(values)
def test_a_score_is_a_number_from_0_to_1(score: Any) -> None:
    """Everything else is refused, with the field named."""
    try:
        raw = orjson.dumps({"request_id": "a", "score": score})
    except orjson.JSONEncodeError:
        return
    good = type(score) in {int, float} and 0 <= score <= 1 and math.isfinite(score)
    error = raised(lambda: parse_feedback(raw))
    assert (error is None) is good
    assert error is None or error.param == "score"


def test_a_score_beyond_64_bits_is_refused() -> None:
    """It is kept as it was written, so it is no number here; in a field that is never read it does no harm."""
    error = raised(lambda: parse_feedback(b'{"request_id": "a", "score": %d}' % 2**70))
    assert error is not None
    assert error.param == "score"
    rating = parse_feedback(b'{"request_id": "a", "score": 1, "more": %d}' % 2**70)
    assert isinstance(rating, FeedbackRequest)
    assert rating.score == 1.0


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=6), st.data())
def test_events_do_not_depend_on_how_they_are_split(payloads: list[str], data: st.DataObject) -> None:
    """However the network cuts a stream, the same events come out; comments, ids and events without data do not."""
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    mark = data.draw(st.sampled_from(["", "\ufeff"]))
    fields = f": ping{end}id: 1{end}event: x{end}"
    stream = (mark + "".join(f"{fields}data: {text}{end}data: 2{end}{end}" for text in payloads)).encode()
    last = data.draw(st.integers(0, 2)) if payloads else 0  # the end of the last event may be missing
    stream = stream[: len(stream) - last * len(end)]
    parser, events = EventParser(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        events += parser.feed(stream[:size])
        stream = stream[size:]
    assert events + parser.end() == [(b"x", f"{text}\n2".encode()) for text in payloads]


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=10))
def test_own_ids_sort_by_time(instants: list[float]) -> None:
    """Our ids are unique request ids, and later ones are greater."""
    ids = [uuid7(instant) for instant in instants]
    assert len(set(ids)) == len(ids)
    assert all(is_request_id(own_id) for own_id in ids)
    milliseconds = [int(instant * 1000) for instant in instants]
    pairs = zip(milliseconds, ids, strict=True)
    assert [key for key, _ in sorted(pairs)] == [int(own_id.replace("-", "")[:12], 16) for own_id in sorted(ids)]


PIECES = ["\\\\", '\\"', "\\u0041", "\\ud83d\\ude00", "\\n", "é", "😀", "a", "{", "[", ":", ",", "uu", "\\\\u0041"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), min_size=1, max_size=4))
def test_a_long_document_is_read_as_a_short_one(texts: list[str]) -> None:
    """Wherever it is cut: no escape, no pair of surrogates and no character comes apart."""
    raw = ('{"a": "b", "list": [' + ", ".join(f'"{text}"' for text in texts) + "]}").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_json, "PIECE_CHARS", 7)
        patch.setattr(long_json, "LONG_CHARS", 5)
        patch.setattr(strict_json, "MAX_MARKS", 0)  # so that every document is a long one
        assert load_object(raw) == json.loads(raw)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"a": "%s' % ("\\n" * 100_000), "invalid_json"),
        ('{"a": "%s", "b": }' % ("\\n" * 100_000), "invalid_json"),
        ('{"a": "%s\\x"}' % ("\\n" * 100_000), "invalid_json"),
        ('{"a": "%s\\ud800"}' % ("\\n" * 100_000), "invalid_json"),
        ('{"%s": 1}' % ("\\n" * 100_000), "too_complex"),
    ],
    ids=["no end", "broken behind it", "no such escape", "half a pair", "a name"],
)
def test_a_long_string_is_as_strictly_read_as_a_short_one(body: str, code: str) -> None:
    """With the code of what is wrong."""
    assert refusal(body.encode()) == code
