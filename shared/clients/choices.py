"""Tracker of which choices of a streamed answer are complete."""

from __future__ import annotations

from typing import Any

MAX_CHOICES = 1024


class Choices:
    """The choices of a stream, by index. A missing index is 0; `expected`: number of requested choices."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._ended: set[int] = set()  # with an empty finish_reason

    def note(self, choice: dict[str, Any]) -> None:
        """Note a part of a choice."""
        index = choice.get("index", 0)
        if type(index) is not int:
            index = 0
        if 0 <= index < MAX_CHOICES:
            self._open.add(index)
            reason = choice.get("finish_reason")
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
