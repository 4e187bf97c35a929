"""The text of an answer, as a judge reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.schemas.answer_text import answer_text

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Yes."}, "Yes."),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": "", "refusal": "I cannot."}, "I cannot."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 7]}, "a\nb"),
        ({"content": "half \ud83d"}, "half ?"),
        ({"content": "Yes.", "reasoning": "Hidden."}, "Yes."),
    ],
)
def test_it_is_what_the_user_sees(message: dict[str, Any], text: str) -> None:
    """Without thoughts, and without characters that cannot be written."""
    assert answer_text(message) == text


def test_tool_calls_are_json() -> None:
    """Name and arguments matter; ids do not."""
    text = answer_text({"content": "Let me look.", "tool_calls": [CALL, "odd"]})
    said, calls = text.split("\n")
    assert said == "Let me look."
    assert json.loads(calls) == {"tool_calls": [CALL["function"]]}
