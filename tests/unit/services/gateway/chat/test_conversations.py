"""Prompts that come again in their conversation."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.chat.conversations import REPEATED_S, Conversation, prompt_digest
from shared.schemas.storage import LastAnswer
from tests.support.fakes.gateway import chat, new_request

QUESTION = "What is the capital of Peru?"
NOW = 1000.0


def repeated(last: LastAnswer | None, text: str = QUESTION, *, session: str | None = "0a1b", **fields: Any) -> Any:
    return Conversation("a/b", last=last).repeated(new_request(session=session), chat(text, **fields), NOW)


def asked(text: str = QUESTION, *, session: str = "0a1b", at: float = NOW - 60) -> LastAnswer:
    return LastAnswer("a/b", prompt_digest(new_request(session=session), chat(text)), at)


def test_the_same_prompt_again_within_minutes_names_the_model_that_answered_it() -> None:
    assert repeated(asked()) == "a/b"
    assert repeated(asked(at=NOW - REPEATED_S)) == "a/b"


@pytest.mark.parametrize(
    "last",
    [
        None,
        asked(at=NOW - REPEATED_S - 1),
        asked("What is the capital of Chile?"),
        asked(session="other"),
        LastAnswer("a/b", "", NOW),
    ],
    ids=["nothing before", "long ago", "another prompt", "another conversation", "not known"],
)
def test_anything_else_is_no_repetition(last: LastAnswer | None) -> None:
    assert repeated(last) is None


@pytest.mark.parametrize("text", ["continue", "yes", ""])
def test_short_prompts_come_again_for_other_reasons(text: str) -> None:
    assert repeated(asked(text), text) is None


def test_a_request_without_a_conversation_leaves_no_hash() -> None:
    assert prompt_digest(new_request(), chat(QUESTION)) == ""


def test_a_step_of_a_tool_loop_is_no_repetition() -> None:
    """Its last user message is the same as before."""
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "x", "content": "Lima"},
    ]
    assert repeated(asked(), messages=messages) is None
    assert repeated(asked(), messages=messages[:1]) == "a/b"
