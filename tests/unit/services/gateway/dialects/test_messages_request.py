"""Messages requests as chat bodies: each kind of block and field, and what cannot be translated."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.dialects.messages import MESSAGES
from shared.errors import InvalidRequest

PNG = {"type": "base64", "media_type": "image/png", "data": "AA=="}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "Weather", "input_schema": SCHEMA}
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": SCHEMA}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Lima"}}
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Lima"}'}}


def chat(**body: Any) -> dict[str, Any]:
    translated = MESSAGES.begin().chat_body({"messages": [{"role": "user", "content": "Hi"}], **body})
    if translated.refusal is not None:
        raise translated.refusal
    return translated.body


def said(role: str, *blocks: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = chat(messages=[{"role": role, "content": list(blocks)}])["messages"]
    return messages


CONTENTS: list[tuple[str, tuple[Any, ...], list[dict[str, Any]]]] = [
    ("user", ({"type": "text", "text": "Hi"},), [{"role": "user", "content": "Hi"}]),
    ("user", ({"type": "image", "source": PNG},), [{"role": "user", "content": [IMAGE]}]),
    (
        "user",
        ({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},),
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}],
    ),
    (
        "user",
        ({"type": "document", "title": "a.pdf", "source": {**PNG, "media_type": "application/pdf"}},),
        [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}]}],
    ),
    (
        "user",
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Text"}},),
        [{"role": "user", "content": "Text"}],
    ),
    (
        "assistant",
        ({"type": "thinking", "thinking": "Hm", "signature": "x"}, {"type": "text", "text": "I look."}, USE),
        [{"role": "assistant", "content": "I look.", "tool_calls": [CALL]}],
    ),
    ("assistant", (USE,), [{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
    (
        "user",
        ({"type": "text", "text": "And?"}, {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}),
        [{"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"}, {"role": "user", "content": "And?"}],
    ),
    (
        "user",
        ({"type": "tool_result", "tool_use_id": "toolu_1",
          "content": [{"type": "text", "text": "a map"}, {"type": "image", "source": PNG}]},),
        [{"role": "tool", "tool_call_id": "toolu_1", "content": "a map"}, {"role": "user", "content": [IMAGE]}],
    ),
    (
        "user",
        ({"type": "tool_result", "tool_use_id": "toolu_1"},),
        [{"role": "tool", "tool_call_id": "toolu_1", "content": ""}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("role", "blocks", "messages"), CONTENTS)
def test_blocks_become_parts_calls_and_results(role: str, blocks: Any, messages: Any) -> None:
    """Results of tools come first: in chat they follow the call directly."""
    assert said(role, *blocks) == messages


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 7}, {"max_completion_tokens": 7}),
    ({"stop_sequences": ["x"], "top_k": 3, "temperature": 0.5}, {"stop": ["x"], "top_k": 3, "temperature": 0.5}),
    ({"metadata": {"user_id": "u1"}}, {"user": "u1"}),
    ({"metadata": {"user_id": "u" * 65}}, {}),
    ({"model": "a/b", "models": ["a/b"], "session_id": "s"}, {"model": "a/b", "models": ["a/b"], "session_id": "s"}),
    ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tools": [FUNCTION], "tool_choice": "required"}),
    (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "weather"}},
         "parallel_tool_calls": False},
    ),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning_effort": "low"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, {"reasoning_effort": "high"}),
    ({"thinking": {"type": "disabled", "budget_tokens": 32000}}, {}),
    ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, {"reasoning_effort": "medium"}),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"response_format": {
            "type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "passed"), FIELDS)
def test_fields_get_the_names_of_chat(sent: dict[str, Any], passed: dict[str, Any]) -> None:
    """And nothing else is added."""
    assert {name: value for name, value in chat(**sent).items() if name != "messages"} == passed


def test_the_system_prompt_is_the_first_message() -> None:
    """As a text, and as blocks."""
    blocks = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
              {"type": "text", "text": "Be kind."}]  # fmt: skip
    assert chat(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}
    assert chat(system=blocks)["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}


def test_dropped_fields_are_named() -> None:
    """For the header `x-router-ignored`."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "container": "c", "new_field": 1}
    assert MESSAGES.begin().chat_body(body).dropped == ("container", "new_field")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [{"name": "f"}]}, "invalid_type", "tools[0].input_schema"),
    ({"mcp_servers": [{"type": "url"}]}, "unsupported_parameter", "mcp_servers"),
    ({"tool_choice": {"type": "some"}}, "invalid_type", "tool_choice.type"),
    ({"max_tokens": "7"}, "invalid_type", "max_tokens"),
    ({"system": [{"type": "text"}]}, "invalid_type", "system[0].text"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": ["Hi"]}, "invalid_type", "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_type", "messages[0].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "invalid_type", "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, "unsupported_parameter",
     "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
     "unsupported_parameter", "messages[0].content[0].source"),
    ({"output_config": {"format": "json"}}, "invalid_type", "output_config.format"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code", "param"), REFUSED)
def test_what_cannot_be_translated_is_refused(sent: dict[str, Any], code: str, param: str) -> None:
    """With the client's own name of the field."""
    with pytest.raises(InvalidRequest) as caught:
        chat(**sent)
    assert (caught.value.code, caught.value.param) == (code, param)
