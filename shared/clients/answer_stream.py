"""A streamed answer: events passed on as they come, each read once for what it says about the answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import orjson

from shared.clients.answers import BadAnswer, choices_of, error_of, model_of, parse_object, usage_of
from shared.clients.sse import EventParser, EventTooLarge
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, timed_out_error
from shared.errors import UpstreamError
from shared.quick_http import Incoming
from shared.schemas.upstream import Usage

MAX_STREAM_BYTES = 128 * 1024 * 1024
MAX_CHOICES = 1024
DRAIN_S = 0.25
"""How long the end of a response may take, so that its connection is used again instead of closed."""

_DONE = b"[DONE]"


class HttpAnswerStream:
    """`AnswerStream` over a response's body. `deadline` is a `time.monotonic` instant."""

    def __init__(self, answer: Incoming, *, gap_timeout_s: float, deadline: float, with_usage: bool) -> None:
        self._answer = answer
        self._gap_timeout_s = gap_timeout_s
        self._deadline = deadline
        self._with_usage = with_usage
        self._parser = EventParser()
        self._first: bytes | None = None
        self._events: deque[bytes] = deque()
        self._received = 0
        self._done = False
        self._open_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self._usage: Usage | None = None
        self._model: str | None = None

    @property
    def usage(self) -> Usage | None:
        """Usage, once it has been seen."""
        return self._usage

    @property
    def model(self) -> str | None:
        """The model that the upstream says answers."""
        return self._model

    async def open(self, first_by: float) -> None:
        """Wait for the first event that the client will get. Raises UpstreamError."""
        self._first = await self._next_frame(first_by)
        if self._first is None:
            raise garbage("an empty stream")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield whole SSE events; see the port."""
        frame = self._first
        while frame is not None:
            yield frame
            frame = await self._next_frame(time.monotonic() + self._gap_timeout_s)

    async def drain(self) -> None:
        """Read the end of the response, if it is near."""
        until = time.monotonic() + DRAIN_S
        try:
            while not self._answer.ended and self._received <= MAX_STREAM_BYTES:
                self._received += len(await self._answer.read(until - time.monotonic()))
        except OSError:
            pass  # then the connection is closed instead

    async def _next_frame(self, by: float) -> bytes | None:
        """Return the next event for the client, or None at the end. `by`: when data must have come."""
        while True:
            while self._events:
                frame = self._digest(self._events.popleft())
                if self._done:
                    return None
                if frame is not None:
                    return frame
            chunk = await self._read(min(by, self._deadline))
            if not chunk:
                if self._complete:
                    return None
                raise UpstreamError("the upstream's stream broke off", spent=True)
            try:
                self._events.extend(self._parser.feed(chunk))
            except EventTooLarge as error:
                raise garbage("too large an event") from error

    @property
    def _complete(self) -> bool:
        """Whether every choice that began has said why it ended."""
        return bool(self._finished_choices) and self._open_choices <= self._finished_choices

    async def _read(self, by: float) -> bytes:
        try:
            chunk = await self._answer.read(by - time.monotonic())
        except TimeoutError as error:
            raise timed_out_error() from error
        except OSError as error:
            raise of_exception(error) from error
        self._received += len(chunk)
        if self._received > MAX_STREAM_BYTES:
            raise garbage("too large a stream")
        return chunk

    def _digest(self, data: bytes) -> bytes | None:
        """Read one event; return what of it the client gets."""
        if data.strip() == _DONE:
            self._done = True
            return None
        try:
            body = parse_object(data)
        except BadAnswer as error:
            raise garbage(str(error)) from error
        failure = error_of(body)
        if failure is not None:
            raise of_error_body(failure)
        self._model = self._model or model_of(body)
        for choice in choices_of(body):
            self._note(choice)
        if body.get("usage"):
            self._usage = usage_of(body) or self._usage
            if not self._with_usage:
                if not body.get("choices"):
                    return None
                del body["usage"]
                return b"data: %b\n\n" % orjson.dumps(body)
        if b"\n" in data or b"\r" in data:
            data = orjson.dumps(body)  # on one line again
        return b"data: %b\n\n" % data

    def _note(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if type(index) is int and 0 <= index < MAX_CHOICES:
            self._open_choices.add(index)
            if choice.get("finish_reason"):
                self._finished_choices.add(index)
