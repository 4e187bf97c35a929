"""Bodies of other dialects, with any value anywhere: they are translated or refused, never a fault of ours."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.dialects.dialect import Envelope
from services.gateway.dialects.messages import MESSAGES
from services.gateway.dialects.responses import RESPONSES
from shared.errors import InvalidRequest
from shared.schemas.chat import parse_chat

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 9) | st.sampled_from(["", "x", "text", "function", "auto", "user"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text"]), inner, max_size=2),
    max_leaves=4,
)
BLOCKS: list[Any] = [
    {"type": "text", "text": "Hi"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
    {"type": "document", "title": "a", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]},
    {"type": "thinking", "thinking": "x", "signature": "y"},
]
MESSAGES_BODY: dict[str, Any] = {
    "model": "auto", "max_tokens": 5, "system": [{"type": "text", "text": "x"}], "metadata": {"user_id": "u"},
    "messages": [{"role": "user", "content": BLOCKS}, {"role": "assistant", "content": BLOCKS}],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}, "stop_sequences": ["x"],
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 0.5, "stream": False,
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "router": {"weights": {"quality": 0.5}, "require": ["tools"], "policy": "cheap", "explore": False},
}  # fmt: skip
FUNCTION = {"type": "function", "name": "f", "parameters": {}, "strict": True}
RESPONSES_BODY: dict[str, Any] = {
    "model": "auto", "instructions": "x", "max_output_tokens": 5, "metadata": {"a": "b"}, "store": False,
    "input": [
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "https://a", "detail": "low"},
            {"type": "input_file", "filename": "a", "file_data": "data:x"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "x"}]},
    ],
    "tools": [FUNCTION, {"type": "namespace", "name": "n", "tools": [FUNCTION]}],
    "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"}, "top_logprobs": 2,
    "stream": False, "parallel_tool_calls": True,
}  # fmt: skip
ANSWER = {"choices": [{"message": {"content": "x", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}}]}


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, value in inner for found in places(value, (*path, key)))][0 if path else 1 :]


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a tree with another value at a place."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = changed(tree[path[0]], path[1:], value)
    return copy


CASES = [(MESSAGES, MESSAGES_BODY), (RESPONSES, RESPONSES_BODY)]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_translated_or_refused(data: st.DataObject) -> None:
    """And what was translated can be answered, whole and streamed."""
    dialect, body = data.draw(st.sampled_from(CASES))
    for path in data.draw(st.lists(st.sampled_from(places(body)), min_size=1, max_size=2)):
        try:
            body = changed(body, path, data.draw(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # the first change has removed the second place
    exchange = dialect.begin()
    try:
        parse_chat(orjson.dumps(body), translate=exchange.chat_body)
    except InvalidRequest:
        return
    envelope = Envelope("0190", 0, "a/b", 1)
    assert orjson.loads(exchange.answer(ANSWER, envelope))
    events = exchange.events(envelope)
    assert events.chunk(ANSWER)
    assert events.end()


def test_the_unchanged_bodies_are_translated() -> None:
    """Else the changes above would test nothing but refusals."""
    for dialect, body in CASES:
        parse_chat(orjson.dumps(body), translate=dialect.begin().chat_body)
