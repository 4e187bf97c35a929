"""Collector of the parts of a streamed answer, for its checks: bounded memory, a few list operations for each event."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from shared.schemas.answer_parts import (
    AnswerChoice,
    ToolCall,
    functions_of,
    has_other_content,
    text_field,
    text_of,
)

MAX_CHARS = 65_536
"""Kept characters of an answer; of a longer text the end is kept."""
MAX_CHOICES = 16


@dataclass(slots=True)
class _Pieces:
    """Pieces of one choice; those of a call are its name and its arguments, by the index of the call."""

    text: list[str] = field(default_factory=list)
    calls: defaultdict[int, tuple[list[str], list[str]]] = field(default_factory=lambda: defaultdict(lambda: ([], [])))
    finish_reason: str = ""
    refusal: bool = False
    other: bool = False
    complete: bool = True


class ChoiceCollector:
    """Joins the deltas of a stream into choices."""

    def __init__(self) -> None:
        self._choices: dict[int, _Pieces] = {}
        self._chars = 0

    def add(self, index: int, delta: dict[str, Any], *, plain: bool) -> None:
        """Add a part of a choice; `plain`: it has a role and content only."""
        pieces = self._choices.get(index) or self._begin(index)
        if pieces is None:
            return
        content = delta.get("content")
        if content:
            text = content if isinstance(content, str) else text_of(content)
            pieces.text.append(text)
            self._chars += len(text)
            if self._chars > MAX_CHARS:
                self._shorten(pieces)
        if not plain:
            self._add_rest(pieces, delta)

    def finish(self, index: int, reason: object) -> None:
        """Note the end of a choice."""
        pieces = self._choices.get(index) or self._begin(index)
        if pieces is not None and isinstance(reason, str):
            pieces.finish_reason = reason

    def choices(self) -> tuple[AnswerChoice, ...]:
        """Return the choices so far."""
        return tuple(
            AnswerChoice(
                text="".join(pieces.text),
                finish_reason=pieces.finish_reason,
                refusal=pieces.refusal,
                other=pieces.other,
                tool_calls=tuple(ToolCall("".join(name), "".join(rest)) for name, rest in pieces.calls.values()),
                complete=pieces.complete,
            )
            for pieces in self._choices.values()
        )

    def _begin(self, index: int) -> _Pieces | None:
        if len(self._choices) == MAX_CHOICES:
            return None
        return self._choices.setdefault(index, _Pieces())

    def _add_rest(self, pieces: _Pieces, delta: dict[str, Any]) -> None:
        pieces.refusal = pieces.refusal or bool(delta.get("refusal"))
        pieces.other = pieces.other or has_other_content(delta)
        for at, function in functions_of(delta):
            name, arguments = text_field(function, "name"), text_field(function, "arguments")
            self._chars += len(name) + len(arguments)
            if self._chars > MAX_CHARS:
                pieces.complete = False
                return
            call = pieces.calls[at]
            call[0].append(name)
            call[1].append(arguments)

    def _shorten(self, pieces: _Pieces) -> None:
        whole = "".join(pieces.text)
        end = whole[-MAX_CHARS // 2 :]
        pieces.text, pieces.complete = [end], False
        self._chars -= len(whole) - len(end)
