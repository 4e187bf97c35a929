"""The text of an answer, as a judge reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.clients.choice_collector import ChoiceCollector
from shared.schemas.answer_parts import answer_choices
from shared.schemas.answer_text import REFUSED, answer_text

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "ü"}'}}


def whole(message: dict[str, Any]) -> str:
    (choice,) = answer_choices([{"message": message}])
    return answer_text(choice)


def streamed(message: dict[str, Any]) -> str:
    collector = ChoiceCollector()
    collector.add(0, message, plain=set(message) == {"content"})
    (choice,) = collector.choices()
    return answer_text(choice)


@pytest.mark.parametrize("read", [whole, streamed])
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Yes."}, "Yes."),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": "", "refusal": "I cannot."}, REFUSED),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 7]}, "ab"),
        ({"content": "half \ud83d"}, "half ?"),
        ({"content": "Yes.", "reasoning": "Hidden."}, "Yes."),
    ],
)
def test_it_is_what_the_user_sees(read: Any, message: dict[str, Any], text: str) -> None:
    """Without thoughts, and without characters that cannot be written; the same streamed and not."""
    assert read(message) == text


@pytest.mark.parametrize("read", [whole, streamed])
def test_tool_calls_are_json(read: Any) -> None:
    """Name and arguments matter; ids do not."""
    said, calls = read({"content": "Let me look.", "tool_calls": [CALL, "odd"]}).split("\n")
    assert said == "Let me look."
    assert json.loads(calls) == {"tool_calls": [CALL["function"]]}
