"""What was said in a stream: the same choices as in a whole answer, within bounds."""

from __future__ import annotations

from typing import Any

from shared.clients.choice_collector import MAX_CHARS, MAX_CHOICES
from shared.clients.choices import Choices
from shared.schemas.answer_parts import AnswerChoice, ToolCall, answer_choices


def collected(*choices: dict[str, Any]) -> tuple[AnswerChoice, ...]:
    tracker = Choices(1)
    for choice in choices:
        tracker.note(choice)
    return tracker.said.choices()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def test_deltas_are_joined_by_choice() -> None:
    assert collected(
        delta(role="assistant", content=""), delta(content="Pa"), delta(1, content="Rome"), delta(content="ris"),
        delta(finish="stop"), delta(1, finish="length"),
    ) == (AnswerChoice("Paris", "stop"), AnswerChoice("Rome", "length"))  # fmt: skip


def test_pieces_of_tool_calls_are_joined_by_call() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "id": "b", "function": {"name": "see", "arguments": "{}"}}
    more = {"index": 0, "function": {"arguments": '{"at"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    (choice,) = collected(
        delta(tool_calls=[first]),
        delta(tool_calls=[second, more]),
        delta(tool_calls=[rest]),
        delta(finish="tool_calls"),
    )
    assert choice.tool_calls == (ToolCall("look", '{"at": 1}'), ToolCall("see", "{}"))
    assert choice.other


def test_a_stream_says_what_a_whole_answer_says() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"content": "Paris"},
        {"content": [{"type": "text", "text": "Paris"}]},
        {"content": None, "tool_calls": [call]},
        {"content": "", "function_call": {"name": "look", "arguments": "{}"}},
        {"content": None, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "look", "input": "x"}}]},
        {"content": None, "refusal": "I cannot."},
        {"content": None, "audio": {"data": "AAAA"}},
        {"content": None, "images": [{"type": "image_url"}]},
        {"content": "", "tool_calls": None, "refusal": None, "reasoning": "Hm."},
    ]
    for message in messages:
        whole = answer_choices([{"index": 0, "message": message, "finish_reason": "stop"}])
        assert collected({"index": 0, "delta": message, "finish_reason": "stop"}) == whole
        assert len(whole) == 1


def test_fields_of_other_types_say_nothing() -> None:
    odd: list[Any] = [
        {"index": "x", "delta": {"content": 7}},
        {"index": None, "delta": "text", "finish_reason": 3},
        {"delta": {"tool_calls": ["x", {"function": None}, {"index": "a", "function": {"name": 1}}]}},
    ]
    (choice,) = collected(*odd)
    assert (choice.text, choice.finish_reason, choice.tool_calls) == ("", "", (ToolCall("", ""),))


def test_of_a_long_text_the_end_is_kept() -> None:
    """Enough to find a loop; the memory of a stream does not grow with it."""
    pieces = [f"{number:09d} " for number in range(30_000)]
    (choice,) = collected(*[delta(content=piece) for piece in pieces])
    assert not choice.complete
    assert MAX_CHARS // 2 <= len(choice.text) <= MAX_CHARS
    assert "".join(pieces).endswith(choice.text)


def test_long_arguments_and_many_choices_are_not_kept() -> None:
    long = {"index": 0, "function": {"name": "look", "arguments": "x" * 1000}}
    (choice,) = collected(*[delta(tool_calls=[long])] * 200)
    assert not choice.complete
    assert len(choice.tool_calls[0].arguments) <= MAX_CHARS
    assert len(collected(*[delta(index, content="x") for index in range(500)])) == MAX_CHOICES
