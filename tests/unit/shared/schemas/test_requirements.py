"""What a chat request requires of a model, read from its body."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from shared.schemas.requirements import Requirements, field_of, requirements_of
from tests.support.fakes.gateway import chat

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
}


def body(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts) or "Hello"}], **fields}


@pytest.mark.parametrize(
    ("part", "feature"),
    [
        (IMAGE, "image"),
        ({"type": "input_image", "image_url": "https://x/y.png"}, "image"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_data": "AA=="}}, "file"),
        ({"type": "input_file", "file_id": "f"}, "file"),
        ({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}, "video"),
    ],
)
def test_parts_require_their_modality_wherever_they_are(part: dict[str, Any], feature: str) -> None:
    """An image of three messages ago goes to the model, too; so does one in a tool's result."""
    later = {"role": "user", "content": "And what else?"}
    for role in ("user", "tool"):
        first = {"role": role, "content": [{"type": "text", "text": "Look"}, part]}
        assert requirements_of({"messages": [first, later]}).features == {feature}


@pytest.mark.parametrize(
    ("fields", "features"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [TOOL]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": None}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools", "tool_choice"}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tools", "tool_choice"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"response_format"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"strict": True}}}, {"structured_outputs"}),
        ({"response_format": "json"}, set()),
        ({"logprobs": True}, {"logprobs"}),
        ({"logprobs": False, "top_logprobs": None}, set()),
        ({"reasoning_effort": "low"}, {"reasoning"}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning": {"effort": "high"}}, {"reasoning"}),
        ({"reasoning": {"enabled": False}}, set()),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"reasoning": {"exclude": True}}, set()),
        ({"modalities": ["text"]}, set()),
        ({"modalities": ["text", "image"]}, {"output:image"}),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, {"output:audio"}),
        ({"temperature": 0.3, "stop": ["x"], "seed": 3}, set()),
    ],
)
def test_fields_require_what_they_ask_for(fields: dict[str, Any], features: set[str]) -> None:
    """A default that is written out requires nothing."""
    assert requirements_of(body(**fields)).features == features


@pytest.mark.parametrize(
    "message",
    [
        CALL,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {"role": "assistant", "content": "x", "reasoning_details": [{"signature": "abc"}]},
    ],
)
def test_ids_of_another_model_are_a_feature_of_their_own(message: dict[str, Any]) -> None:
    """Some models refuse tool-call ids or signatures that they did not make."""
    assert requirements_of({"messages": [message]}).features == {"tool_history"}


@pytest.mark.parametrize(
    ("text", "cautious", "least"),
    [("word " * 2400, 4000, 1500), ("漢" * 3000, 3000, 1125), ("é" * 3000, 2000, 750), ("", 0, 0)],
)
def test_tokens_are_estimated_on_both_sides(text: str, cautious: int, least: int) -> None:
    """3 characters of Latin text or 1 of Chinese at the cautious end; what hardly any model undercuts at the other."""
    found = requirements_of({"messages": [{"role": "user", "content": text}]})
    assert found.prompt_tokens == cautious + 4
    assert found.least_prompt_tokens == least


def test_what_is_not_text_counts_as_well() -> None:
    """Tools and schemas are part of the prompt, images are tiles, and arguments of old calls are sent again."""
    plain = requirements_of(body())
    tools = requirements_of(body(tools=[{"type": "function", "function": {"name": "f", "description": "x" * 3000}}]))
    assert tools.prompt_tokens - plain.prompt_tokens > 1000
    pictures = requirements_of(body(IMAGE, IMAGE))
    assert 2 * 85 <= pictures.least_prompt_tokens < pictures.prompt_tokens < 2 * 1600
    function = {"name": "f", "arguments": "x" * 3000}
    called = requirements_of({"messages": [{**CALL, "tool_calls": [{"id": "1", "function": function}]}]})
    assert called.prompt_tokens > 1000


@pytest.mark.parametrize(
    ("fields", "fits"),
    [({"transforms": ["middle-out"]}, True), ({"plugins": [{"id": "context-compression"}]}, True),
     ({"transforms": []}, False), ({"transforms": "middle-out"}, False), ({"plugins": [None, {"id": "web"}]}, False)],
)  # fmt: skip
def test_a_prompt_that_may_be_cut_fits_everywhere(fields: dict[str, Any], fits: bool) -> None:
    """OpenRouter takes out its middle; models with more room are still the better ones."""
    found = requirements_of({"messages": [{"role": "user", "content": "word " * 1000}], **fields})
    assert (found.least_prompt_tokens == 0, found.prompt_tokens > 1500) == (fits, True)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [({"max_tokens": 7}, 7), ({"max_completion_tokens": 9, "max_tokens": 7}, 9), ({"max_tokens": 100.0}, 100),
     ({"max_tokens": -1}, 0), ({"max_tokens": True}, 0), ({"max_tokens": "7"}, 0), ({}, 0)],
)  # fmt: skip
def test_the_longest_answer_is_what_the_client_sets(fields: dict[str, Any], tokens: int) -> None:
    """-1 and 0 are other servers' words for no limit."""
    assert requirements_of(body(**fields)).output_tokens == tokens


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"messages": None},
        {"messages": [None, 3, "x", {}, {"content": [None, 3, {"type": 3}, {"type": "text", "text": 3}]}]},
        {"messages": [{"tool_calls": 3, "function_call": "x"}, {"tool_calls": [None, {"function": 3}]}]},
        body(
            tools=[{"maximum": 2**70, "odd": orjson.Fragment(b"1" * 30)}, "\ud800"],
            response_format={"type": "json_schema", "json_schema": "\ud800"},
        ),
        body(modalities="image", reasoning="x", tool_choice=3, logprobs="x"),
        body(max_tokens=float("nan")),
    ],
)
def test_strange_shapes_cost_nothing(strange: dict[str, Any]) -> None:
    """What a field means is the upstream's to judge: no error, whatever the shape."""
    assert isinstance(requirements_of(strange), Requirements)


def test_a_parsed_request_carries_them() -> None:
    """Computed once, where the body is read."""
    assert chat("Hello", tools=[TOOL]).requirements.features == {"tools"}


@pytest.mark.parametrize(
    ("feature", "fields", "field"),
    [
        ("image", {}, "messages"),
        ("context", {}, "messages"),
        ("tools", {"tools": [TOOL]}, "tools"),
        ("tools", {"functions": [{}]}, "functions"),
        ("max_tokens", {"max_tokens": 3}, "max_tokens"),
        ("max_tokens", {"max_completion_tokens": 3}, "max_completion_tokens"),
        ("structured_outputs", {}, "response_format"),
        ("reasoning", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("output:audio", {"modalities": ["audio"]}, "modalities"),
    ],
)
def test_each_feature_has_its_field(feature: str, fields: dict[str, Any], field: str) -> None:
    """An error's `param` names what the client has sent."""
    assert field_of(feature, body(**fields)) == field


def test_long_prompts_are_read_in_a_moment() -> None:
    """A million and a half characters cost a few milliseconds at most."""
    asked = {"messages": [{"role": "user", "content": "漢字" * 375_000}] * 2}
    started = time.perf_counter()
    requirements_of(asked)
    assert time.perf_counter() - started < 0.25


@pytest.mark.parametrize(
    ("wanted", "reasons"),
    [
        ({"enabled": False, "effort": "high"}, False),
        ({"enabled": True}, True),
        ({"effort": "none"}, False),
        ({"max_tokens": 100}, True),
        ({}, False),
    ],
)
def test_reasoning_that_is_switched_off_is_not_required(wanted: dict[str, Any], *, reasons: bool) -> None:
    """`enabled: false` counts, whatever stands beside it."""
    assert ("reasoning" in requirements_of(body(reasoning=wanted)).features) is reasons
