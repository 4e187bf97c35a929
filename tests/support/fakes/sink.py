"""A client in memory that is sent a stream."""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.chat.streaming import Begin, OpenStream


class FakeSink:
    """`Sink`: `frames` are the events that were put. `on_event` gets each; with `room` False each is waited for.

    `begun_by`: the arms in the headers that were sent.
    """

    def __init__(self, on_event: Callable[[bytes], None] | None = None, *, room: bool = True) -> None:
        self.frames: list[bytes] = []
        self.begun_by: list[str] = []
        self._on_event = on_event
        self._room = room

    def put(self, piece: bytes) -> bool:
        *events, rest = piece.split(b"\n\n")
        assert events
        assert not rest, "a piece is whole events"
        for event in events:
            self.frames.append(event + b"\n\n")
            if self._on_event is not None:
                self._on_event(self.frames[-1])
        return self._room

    async def flush(self) -> None:
        pass


def begins(sink: FakeSink) -> Begin:
    """Return what sends the headers of an answer to a client in memory."""

    async def begin(opened: OpenStream) -> FakeSink:
        sink.begun_by.append(opened.arm)
        return sink

    return begin
