"""Responses requests as chat bodies: each kind of item and field, and what cannot be translated."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.gateway.dialects.dialect import Envelope
from services.gateway.dialects.responses import RESPONSES
from shared.errors import InvalidRequest
from shared.schemas.chat import parse_chat

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "description": "Weather", "parameters": SCHEMA, "strict": True}
FUNCTION = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather", "parameters": SCHEMA, "strict": True},
}
ITEM = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def chat(**body: Any) -> dict[str, Any]:
    translated = RESPONSES.begin().chat_body({"input": "Hi", **body})
    if translated.refusal is not None:
        raise translated.refusal
    return translated.body


INPUTS: list[tuple[Any, list[dict[str, Any]]]] = [
    ("Hi", [{"role": "user", "content": "Hi"}]),
    ([{"role": "developer", "content": "Be brief."}], [{"role": "system", "content": "Be brief."}]),
    (
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        [{"role": "user", "content": "Hi"}],
    ),
    (
        [{"role": "user", "content": [
            {"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": "https://a", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"}]}],
        [{"role": "user", "content": [
            {"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "https://a", "detail": "low"}},
            {"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}}]}],
    ),
    (
        [{"type": "reasoning", "id": "rs_1", "summary": []},
         {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}, ITEM,
         {**ITEM, "call_id": "call_2"}],
        [{"role": "assistant", "content": "I look.", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}],
    ),
    (
        [{"role": "user", "content": "Hi"}, ITEM,
         {"type": "function_call_output", "call_id": "call_1", "output": "ok"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
         {"role": "tool", "tool_call_id": "call_1", "content": "ok"}],
    ),
    (
        [{"type": "function_call_output", "call_id": "call_1",
          "output": [{"type": "input_text", "text": "a map"}, {"type": "input_image", "image_url": "https://a"}]}],
        [{"role": "tool", "tool_call_id": "call_1", "content": "a map"},
         {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "messages"), INPUTS)
def test_items_become_messages(sent: Any, messages: Any) -> None:
    """Calls of one turn are calls of one message."""
    assert chat(input=sent)["messages"] == messages


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_output_tokens": 7, "temperature": 0.5}, {"max_completion_tokens": 7, "temperature": 0.5}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [FUNCTION], "tool_choice": "required"}),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    ({"tools": [], "tool_choice": "auto", "store": False, "include": ["reasoning.encrypted_content"]}, {}),
    ({"reasoning": {"effort": "low", "summary": "auto"}, "top_logprobs": 2},
     {"reasoning_effort": "low", "logprobs": True, "top_logprobs": 2}),
    ({"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
     {"response_format": {"type": "json_object"}, "verbosity": "low"}),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}}},
     {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}}),
    ({"prompt_cache_key": "k", "parallel_tool_calls": False}, {"prompt_cache_key": "k", "parallel_tool_calls": False}),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "passed"), FIELDS)
def test_fields_get_the_names_of_chat(sent: dict[str, Any], passed: dict[str, Any]) -> None:
    """And nothing else is added."""
    assert {name: value for name, value in chat(**sent).items() if name != "messages"} == passed


def test_tools_of_a_namespace_stand_among_the_others() -> None:
    """Chat has no namespaces: a call goes back to the client in its own, also in the history that it sends."""
    tools = [TOOL, {"type": "namespace", "name": "agents", "tools": [{**TOOL, "name": "close"}, TOOL]}]
    exchange = RESPONSES.begin()
    item = {**ITEM, "namespace": "agents"}
    body = exchange.chat_body({"tools": tools, "input": [item, {**item, "name": "close"}, ITEM]}).body
    names = ["weather", "close", "agents__weather"]
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    calls = body["messages"][0]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["agents__weather", "close", "weather"]
    said = {"tool_calls": [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in names]}
    answer = orjson.loads(exchange.answer({"choices": [{"message": said}]}, Envelope("0190", 0, "a/b", 1)))
    found = [(item.get("namespace"), item["name"]) for item in answer["output"]]
    assert found == [(None, "weather"), ("agents", "close"), ("agents", "weather")]


def test_instructions_are_the_first_message() -> None:
    """Before those of the input."""
    messages = chat(instructions="Be brief.", input=[{"role": "system", "content": "Be kind."}])["messages"]
    assert [message["content"] for message in messages] == ["Be brief.", "Be kind."]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    *[({name: value}, "unsupported_parameter", name)
      for name, value in (("previous_response_id", "resp_1"), ("conversation", "c"), ("prompt", {"id": "p"}),
                          ("background", True), ("store", True))],
    ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [{"type": "custom", "name": "x"}]}, "unsupported_parameter", "tools[0].type"),
    ({"tool_choice": {"type": "file_search"}}, "unsupported_parameter", "tool_choice.type"),
    ({"max_output_tokens": "7"}, "invalid_type", "max_output_tokens"),
    ({"input": ["Hi"]}, "invalid_type", "input[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "unsupported_parameter", "input[0].type"),
    ({"input": [{"role": "critic", "content": "x"}]}, "invalid_type", "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "unsupported_parameter",
     "input[0].content[0]"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "invalid_type", "input[0].output"),
    ({"text": {"format": {"type": "grammar"}}}, "invalid_type", "text.format.type"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code", "param"), REFUSED)
def test_what_cannot_be_translated_is_refused(sent: dict[str, Any], code: str, param: str) -> None:
    """With the client's own name of the field."""
    with pytest.raises(InvalidRequest) as caught:
        chat(**sent)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(("store", "private"), [({"store": False}, True), ({}, False)])
def test_a_wish_for_privacy_outlives_the_translation(store: dict[str, bool], *, private: bool) -> None:
    """`store` itself is no field for every upstream."""
    raw = orjson.dumps({"input": "x", **store})
    found = parse_chat(raw, translate=RESPONSES.begin().chat_body)
    assert (found.private, "store" in found.body) == (private, False)
