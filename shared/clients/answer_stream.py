"""A streamed answer: events passed on as they come, each read once for what it says about the answer."""

from __future__ import annotations

import time
from typing import Any

import orjson

from shared.clients.answers import BadAnswer, choices_of, error_of, parse_object
from shared.clients.sse import EventParser, EventTooLarge
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, timed_out_error
from shared.clients.usage import usage_of
from shared.errors import UpstreamError
from shared.quick_http import Incoming
from shared.schemas.tool_loops import MAX_CALLS, call_ids_of
from shared.schemas.upstream import Sink, Usage

MAX_STREAM_BYTES = 128 * 1024 * 1024
MAX_CHOICES = 1024
DRAIN_S = 0.25
"""How long the end of a response may take, so that its connection is used again instead of closed."""

_DONE = b"[DONE]"
_LF, _CR = b"\n\r"


class HttpAnswerStream:
    """`AnswerStream` over a response's body. `deadline` is a `time.monotonic` instant."""

    def __init__(self, answer: Incoming, *, gap_timeout_s: float, deadline: float, with_usage: bool) -> None:
        self._answer = answer
        self._gap_timeout_s = gap_timeout_s
        self._deadline = deadline
        self._with_usage = with_usage
        self._parser = EventParser()
        self._sink: Sink | None = None
        self._frames: list[bytes] = []
        self._received = 0
        self._data_by = deadline
        self._done = False
        self._failure: UpstreamError | None = None
        self._open_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self.events = 0
        self.usage: Usage | None = None
        self.calls: tuple[str, ...] = ()

    async def open(self, first_by: float) -> None:
        """Wait for the first event that the client will get. Raises UpstreamError."""
        await self._hear(first_by)
        if not self._frames:
            self._check_end()
            raise garbage("an empty stream")

    async def pour(self, sink: Sink) -> None:
        """Put whole SSE events; see the port."""
        self._sink = sink
        self._put()
        await sink.flush()
        while not self._over:
            await self._hear(time.monotonic() + self._gap_timeout_s)
            await sink.flush()
        self._check_end()

    async def drain(self) -> None:
        """Read the end of the response, if it is near."""
        until = time.monotonic() + DRAIN_S
        try:
            while not self._answer.ended and self._received <= MAX_STREAM_BYTES:
                self._received += len(await self._answer.read(until - time.monotonic()))
        except OSError:
            pass  # then the connection is closed instead

    @property
    def _over(self) -> bool:
        return self._done or self._failure is not None or self._answer.ended

    def _check_end(self) -> None:
        """Raise what is wrong with a stream that is over: none is whole before each choice said why it ended."""
        if self._failure is not None:
            raise self._failure
        whole = self._finished_choices and self._open_choices <= self._finished_choices
        if not self._done and not whole:
            raise UpstreamError("the upstream's stream broke off", spent=True)

    # -- hearing: each piece is read and put where it arrives, without a task that wakes up for it ---------------------

    async def _hear(self, data_by: float) -> None:
        """Take what comes until it has to be waited for somebody, or to the end. Raises UpstreamError."""
        self._data_by = data_by
        try:
            await self._answer.pour(self._take, self._left_s)
        except TimeoutError as error:
            raise timed_out_error() from error
        except OSError as error:
            raise of_exception(error) from error

    def _left_s(self) -> float:
        return min(self._data_by, self._deadline) - time.monotonic()

    def _take(self, piece: bytes) -> bool:
        """Read what has come and pass it on; return whether more is wanted at once."""
        frames = self._frames
        self._received += len(piece)
        try:
            if self._received > MAX_STREAM_BYTES:
                raise garbage("too large a stream")
            for event in self._parser.feed(piece):
                if event.strip() == _DONE:
                    self._done = True
                    break
                frame = self._digest(event)
                if frame is not None:
                    frames.append(frame)
        except EventTooLarge as error:
            self._failure = garbage("too large an event")
            self._failure.__cause__ = error
        except UpstreamError as error:
            self._failure = error
        room = not self._done and self._failure is None
        if not frames:
            return room
        return self._put() and room

    def _put(self) -> bool:
        """Pass on what has been read; return whether there is room for more."""
        if self._sink is None:
            return False
        self.events += len(self._frames)
        self._data_by = time.monotonic() + self._gap_timeout_s
        piece = b"".join(self._frames)
        self._frames.clear()
        return self._sink.put(piece)

    def _digest(self, data: bytes) -> bytes | None:
        """Read one event; return what of it the client gets."""
        try:
            body = parse_object(data)
        except BadAnswer as error:
            raise garbage(str(error)) from error
        choices = choices_of(body)
        failure = error_of(body, choices)
        if failure is not None:
            raise of_error_body(failure)
        for choice in choices:
            self._note(choice)
        if body.get("usage"):
            usage = usage_of(body)
            if usage is not None:
                self.usage = usage if self.usage is None else self.usage.updated(usage)
            if not self._with_usage:
                if not body.get("choices"):
                    return None
                del body["usage"]
                data = orjson.dumps(body)
        if _LF in data or _CR in data:
            data = orjson.dumps(body)  # on one line again
        return b"data: " + data + b"\n\n"

    def _note(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if type(index) is int and 0 <= index < MAX_CHOICES:
            self._open_choices.add(index)
            if choice.get("finish_reason"):
                self._finished_choices.add(index)
        delta = choice.get("delta")
        if isinstance(delta, dict) and ("tool_calls" in delta or "function_call" in delta):
            new = [name for name in call_ids_of((delta,)) if name not in self.calls]
            if len(self.calls) < MAX_CALLS:
                self.calls = (*self.calls, *new)
