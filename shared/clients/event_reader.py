"""Reader of a stream's events: what the router needs to know of each, and the bytes for the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from shared.clients import upstream_json
from shared.clients.answers import RefusalOf, choices_of, error_of
from shared.clients.choices import Choices
from shared.clients.native_answers import NativeEvents
from shared.clients.upstream_errors import of_error_body
from shared.clients.usage import usage_of
from shared.schemas.upstream import DONE, Usage

_DONE = b"[DONE]"
_LF = b"\n"
_UNREADABLE = object()


class EventReader:
    """Reader of one stream. An unreadable event is dropped alone.

    Attributes:
        choices: what was said, and which choices are complete.
        usage: tokens and cost, once they have been seen.
        unread: number of dropped events, by reason.
        done: whether the last event was read.
        end: what ends a whole answer for the client.
        refusal: converts an error in the stream.
    """

    def __init__(
        self, *, with_usage: bool, choices: int = 1, refusal: RefusalOf = of_error_body,
        native: NativeEvents | None = None,
    ) -> None:  # fmt: skip
        """`native`: the events are those of another API, and are passed on unchanged."""
        self.choices = Choices(choices)
        self.usage: Usage | None = None
        self.unread: Counter[str] = Counter()
        self.done = False
        self.end = DONE if native is None else b""
        self.refusal = refusal
        self._with_usage = with_usage
        self._native = native

    def read(self, kind: bytes, data: bytes) -> bytes | None:
        """Read one event; return the bytes for the client, None for none. Raises UpstreamError."""
        if data.strip() == _DONE:
            self.done = self._native is None
            return None
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            body, data = self._decipher(data)
        if not isinstance(body, dict):
            self._drop(kind, data, "not_json" if body is _UNREADABLE else "not_object")
            return None
        native = self._native
        facts: dict[str, Any] = body if native is None else native.as_chunk(body)
        self._note(kind, facts)
        if native is not None:
            return self._passed_on(native, body, data)
        if body.get("usage") and not self._with_usage:
            if not body.get("choices"):
                return None
            del body["usage"]
            data = upstream_json.dumps(body)
        return b"data: " + _on_one_line(data) + _LF + _LF

    def _note(self, kind: bytes, facts: Mapping[str, Any]) -> None:
        """Note the facts of an event. Raises UpstreamError for an error."""
        choices = choices_of(facts)
        failure = error_of(facts, choices)
        if failure is None and kind == b"error":
            failure = facts
        if failure is not None:
            raise self.refusal(failure)
        for choice in choices:
            self.choices.note(choice)
        if facts.get("usage") and (usage := usage_of(facts)) is not None:
            self.usage = usage if self.usage is None else self.usage.updated(usage)

    def _passed_on(self, native: NativeEvents, body: Mapping[str, Any], data: bytes) -> bytes | None:
        """Return an event of another API; the last one becomes the end."""
        event = b"event: %b\ndata: %b\n\n" % (str(body.get("type")).encode(), _on_one_line(data))
        if native.ended:
            self.done, self.end = True, event
            return None
        return event

    def _decipher(self, data: bytes) -> tuple[object, bytes]:
        """Return the value of an event that is not strict JSON, and its text to pass on."""
        try:
            return upstream_json.read(data)
        except ValueError:
            return _UNREADABLE, data

    def _drop(self, kind: bytes, data: bytes, reason: str) -> None:
        """Count an event that is no JSON object. Raises UpstreamError where it says that it is an error."""
        if kind == b"error":
            raise self.refusal({"message": data.decode("utf-8", "replace")})
        self.unread[reason] += 1


def _on_one_line(data: bytes) -> bytes:
    """Return JSON on one line: within a string it has no line end."""
    return data.replace(_LF, b" ") if _LF in data else data
