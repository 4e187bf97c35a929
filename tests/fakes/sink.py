"""A client in memory that is sent a stream."""

from __future__ import annotations

from collections.abc import Callable


class FakeSink:
    """`Sink`: `frames` are the events that were put. `told` hears of each; with `room` at False each is waited for."""

    def __init__(self, told: Callable[[bytes], None] | None = None, *, room: bool = True) -> None:
        self.frames: list[bytes] = []
        self._told = told
        self._room = room

    def put(self, piece: bytes) -> bool:
        *events, rest = piece.split(b"\n\n")
        assert events
        assert not rest, "a piece is whole events"
        for event in events:
            self.frames.append(event + b"\n\n")
            if self._told is not None:
                self._told(self.frames[-1])
        return self._room

    async def flush(self) -> None:
        pass
