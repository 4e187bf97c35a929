"""Tracker of the choices of a streamed answer: which are complete, what was said in them, and the tool calls' ids."""

from __future__ import annotations

from typing import Any

from shared.clients.choice_collector import ChoiceCollector
from shared.schemas.tool_loops import MAX_CALLS, call_ids_of

MAX_CHOICES = 1024
_PLAIN = frozenset({"role", "content"})


class Choices:
    """The choices of a stream, by index. A missing index is 0; `expected`: number of requested choices.

    Attributes:
        said: text and tool calls of the choices.
        calls: ids of the tool calls.
    """

    def __init__(self, expected: int) -> None:
        self.said = ChoiceCollector()
        self.calls: tuple[str, ...] = ()
        self._expected = expected
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._ended: set[int] = set()  # with an empty finish_reason

    def note(self, choice: dict[str, Any]) -> None:
        """Note a part of a choice."""
        index = choice.get("index", 0)
        if type(index) is not int:
            index = 0
        delta, reason = choice.get("delta"), choice.get("finish_reason")
        if isinstance(delta, dict):
            plain = _PLAIN.issuperset(delta)
            self.said.add(index, delta, plain=plain)
            if not plain:
                new = [name for name in call_ids_of((delta,)) if name not in self.calls]
                self.calls = (*self.calls, *new)[:MAX_CALLS]
        if reason:
            self.said.finish(index, reason)
        if 0 <= index < MAX_CHOICES:
            self._open.add(index)
            if reason:
                self._finished.add(index)
            elif reason == "":
                self._ended.add(index)

    def whole(self, *, delimited: bool) -> bool:
        """Return whether nothing is missing where the body has ended; `delimited`: and was seen to be complete."""
        ended = self._finished | self._ended if delimited else self._finished
        return bool(ended) and self._open <= ended

    @property
    def whole_if_broken(self) -> bool:
        """Whether nothing is missing where the connection broke: a choice may not have begun."""
        return self._open <= self._finished and len(self._finished) >= self._expected
