"""Server-sent events from an upstream that may cut, pad, split or inflate them."""

from __future__ import annotations

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Room for a picture in a delta; far below what would hurt."""


class EventTooLarge(Exception):
    """A line or an event is larger than `MAX_EVENT_BYTES`."""


class EventParser:
    """Bytes in, data of whole events out. Comments and fields other than `data` are dropped.

    Splits anywhere are fine, within a character or a line end too: bytes wait until their line is complete.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes. Raises EventTooLarge."""
        chunk = self._rest + chunk
        if (
            not self._data
            and chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk[-1:] == b"\n"
        ):
            self._rest = b""  # one event and nothing else, as most upstreams send them
            return [chunk[6:-2]]
        lines = chunk.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._keep(line[5:].removesuffix(b"\r").removeprefix(b" "))
            elif line in (b"", b"\r") and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        return events

    def _keep(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge
        self._data.append(value)
