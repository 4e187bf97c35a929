"""Streamed answer of the Responses API: numbered events, each item added, filled and done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.dialects.answer_parts import AnswerParts, Part, PartKind
from services.gateway.dialects.dialect import event
from services.gateway.dialects.responses_items import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    Asked,
    content,
    ended,
    item,
    item_id,
    response,
)

_NAMES = {
    PartKind.TEXT: ("response.output_text", "text"),
    PartKind.REFUSAL: ("response.refusal", "refusal"),
    PartKind.REASONING: ("response.reasoning_summary_text", "text"),
    PartKind.CALL: ("response.function_call_arguments", "arguments"),
}
"""Prefix of a part's events, and the field of the last one that repeats the whole text."""
_CONTAINERS = {
    PartKind.TEXT: ("response.content_part", "content_index"),
    PartKind.REFUSAL: ("response.content_part", "content_index"),
    PartKind.REASONING: ("response.reasoning_summary_part", "summary_index"),
}
"""Prefix of the events of what holds a part's text, and its index; tool calls have none."""


class ResponsesEvents:
    """Writer of one stream. `Events` describes the methods."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._parts = AnswerParts(asked.envelope.request_id)
        self._number = -1
        self._open: list[Part] = []

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """Translate one chunk."""
        deltas = list(self._parts.read(body))
        return b"".join([self._start(), *(self._delta(part, text) for part, text in deltas)])

    def end(self) -> bytes:
        """Return the end of a whole answer."""
        last = ended(self._asked, self._parts)
        return b"".join(
            [self._start(), *map(self._done, self._open), self._event(f"response.{last['status']}", response=last)]
        )

    def fail(self, error: Mapping[str, Any], *, original: bool) -> bytes:
        """Return the end of a broken answer; of an original one the response is not known here."""
        if original:
            said = {"code": error.get("code"), "message": error["message"], "param": None}
            return event("error", {**said, "sequence_number": 0})
        failed = response(self._asked, self._parts, FAILED)
        failed["error"] = {"code": error.get("code") or "server_error", "message": error["message"]}
        return self._start() + self._event("response.failed", response=failed)

    def _start(self) -> bytes:
        if self._number >= 0:
            return b""
        begun = response(self._asked, self._parts, IN_PROGRESS)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _delta(self, part: Part, text: str) -> bytes:
        events = [] if part in self._open else self._added(part)
        if text:
            more: dict[str, Any] = {"logprobs": []} if part.kind is PartKind.TEXT else {}
            events.append(self._of(part, f"{_NAMES[part.kind][0]}.delta", delta=text, **more))
        return b"".join(events)

    def _added(self, part: Part) -> list[bytes]:
        """Add an item. A text ends where another item begins; parallel tool calls may alternate."""
        ended_parts = [one for one in self._open if one.kind is not PartKind.CALL]
        events = [self._done(one) for one in ended_parts]
        self._open = [one for one in self._open if one not in ended_parts] + [part]
        shown = item(part, self._asked, IN_PROGRESS)
        events.append(self._event("response.output_item.added", output_index=part.index, item=shown))
        if part.kind in _CONTAINERS:
            events.append(self._of(part, f"{_CONTAINERS[part.kind][0]}.added", part=content(part, "")))
        return events

    def _done(self, part: Part) -> bytes:
        prefix, field = _NAMES[part.kind]
        more: dict[str, Any] = {field: part.text}
        if part.kind is PartKind.TEXT:
            more["logprobs"] = []
        elif part.kind is PartKind.CALL:
            more["name"] = self._asked.names.original(part.name)[1]
        events = [self._of(part, f"{prefix}.done", **more)]
        if part.kind in _CONTAINERS:
            events.append(self._of(part, f"{_CONTAINERS[part.kind][0]}.done", part=content(part, part.text)))
        shown = item(part, self._asked, COMPLETED)
        events.append(self._event("response.output_item.done", output_index=part.index, item=shown))
        return b"".join(events)

    def _of(self, about: Part, kind: str, **fields: Any) -> bytes:
        """Return an event about a part's text."""
        place: dict[str, Any] = {"item_id": item_id(about, self._asked), "output_index": about.index}
        if about.kind in _CONTAINERS:
            place[_CONTAINERS[about.kind][1]] = 0
        return self._event(kind, **place, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return event(kind, {"sequence_number": self._number, **fields})
