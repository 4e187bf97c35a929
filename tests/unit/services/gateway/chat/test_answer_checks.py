"""Checks of a served answer, without a model."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from services.gateway.chat.answer_checks import failed_checks, repeats_itself
from shared.schemas.answer_parts import AnswerChoice, ToolCall

PERSON: dict[str, object] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
STRUCTURED: dict[str, object] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
}
TOOLS: dict[str, object] = {"tools": [{"type": "function", "function": {"name": "look_up", "parameters": PERSON}}]}
OLD_FUNCTIONS: dict[str, object] = {"functions": [{"name": "look_up", "parameters": PERSON}]}
GOOD = '{"name": "Ada", "age": 36}'
SENTENCES = " ".join(f"Sentence number {number} says something new." for number in range(400))


def said(text: str = "", **more: Any) -> AnswerChoice:
    return AnswerChoice(text=text, **({"finish_reason": "stop"} | more))


def called(name: str, arguments: str) -> AnswerChoice:
    return said(finish_reason="tool_calls", other=True, tool_calls=(ToolCall(name, arguments),))


def found(choice: AnswerChoice, body: dict[str, object] | None = None) -> tuple[str, ...]:
    return failed_checks(body or {}, (choice,))


@pytest.mark.parametrize(
    ("choice", "failed"),
    [
        (said("Paris."), ()),
        (said(""), ("empty",)),
        (said(" \n"), ("empty",)),
        (said("", other=True), ()),
        (said("The first half of", finish_reason="length"), ("cut",)),
        (said("", finish_reason="length"), ("empty", "cut")),
        (said("Half of", finish_reason="content_filter"), ("refused",)),
        (said("", finish_reason="content_filter"), ("refused",)),
        (said("", refusal=True), ("refused",)),
    ],
)
def test_an_answer_that_is_empty_cut_or_refused_fails(choice: AnswerChoice, failed: tuple[str, ...]) -> None:
    assert found(choice) == failed


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (GOOD, True),
        ('{"name": "Ada"}', False),
        ('{"name": "Ada", "age": 36, "more": 1}', False),
        ('{"name": "Ada", "age": "36"}', False),
        ('{"name": "Ada", "age": 36.5}', False),
        (f"```json\n{GOOD}\n```", False),
        ("Ada is 36.", False),
    ],
)
def test_json_must_fit_the_schema_that_was_asked_for(text: str, fits: bool) -> None:
    assert found(said(text), STRUCTURED) == (() if fits else ("format",))


def test_json_without_a_schema_must_be_an_object() -> None:
    body: dict[str, object] = {"response_format": {"type": "json_object"}}
    assert found(said('{"any": "thing"}'), body) == ()
    assert found(said("[1]"), body) == ("format",)
    assert found(said("Ada is 36."), {"response_format": {"type": "text"}}) == ()


@pytest.mark.parametrize("body", [TOOLS, OLD_FUNCTIONS])
@pytest.mark.parametrize(
    ("name", "arguments", "fits"),
    [
        ("look_up", GOOD, True),
        ("look_down", GOOD, False),
        ("look_up", '{"name": "Ada", ', False),
        ("look_up", '{"name": "Ada", "age": "old"}', False),
        ("look_up", "", False),
    ],
)
def test_a_tool_call_must_name_an_offered_tool_and_fit_its_arguments(
    body: dict[str, object], name: str, arguments: str, fits: bool
) -> None:
    assert found(called(name, arguments), body) == (() if fits else ("tool_call",))


def test_a_tool_without_parameters_may_be_called_without_arguments() -> None:
    body: dict[str, object] = {"tools": [{"type": "function", "function": {"name": "now"}}]}
    assert found(called("now", ""), body) == ()
    assert found(called("now", "{}"), body) == ()
    assert found(called("now", "soon"), body) == ("tool_call",)


def test_the_format_is_not_asked_of_a_tool_call_or_of_half_an_answer() -> None:
    """A tool call stands for the JSON; of an answer that was cut, or not kept whole, nothing follows."""
    assert found(called("look_up", GOOD), STRUCTURED | TOOLS) == ()
    assert found(said('{"name": "A', finish_reason="length"), STRUCTURED) == ("cut",)
    assert found(said('da", "age": 36}', complete=False), STRUCTURED) == ()


def test_one_of_several_choices_is_enough_to_fail() -> None:
    assert failed_checks({}, (said("Paris."), said(""))) == ("empty",)


@pytest.mark.parametrize("piece", ["na", "I am sorry. ", SENTENCES[:500]])
def test_an_answer_whose_end_is_a_loop_fails(piece: str) -> None:
    """However it began, and wherever within the piece it was cut."""
    loop = "A good beginning. " + piece * 4000
    assert found(said(loop[:20_000], finish_reason="length")) == ("cut", "repetition")
    assert found(said(loop[:19_999])) == ("repetition",)


@pytest.mark.parametrize(
    "text",
    [
        SENTENCES,
        "Ha! " * 100,
        SENTENCES + "=" * 200,
        "".join(f"| {number} | {number * number} |\n" for number in range(900)),
        SENTENCES + "Yes. " * 300 + SENTENCES[:1100],
    ],
    ids=["prose", "short", "a rule", "a table", "a loop that ended"],
)
def test_a_long_answer_without_a_loop_at_its_end_passes(text: str) -> None:
    assert found(said(text)) == ()


def test_the_search_for_a_loop_is_cheap() -> None:
    """It runs before the last byte of an answer is sent. A thousand times below a second: below 1 ms each."""
    texts = ["ab" * 100_000, SENTENCES * 10, "a" * 99_999 + "b", orjson.dumps(list(range(40_000))).decode()]
    began = time.process_time()
    for text in texts:
        for _ in range(250):
            repeats_itself(text)
    assert time.process_time() - began < 1.0
