"""Streamed answer: passes events on as they arrive; `event_reader.py` reads each once for its facts.

Any byte from the upstream shows that it is alive; only silence is a fault. An unreadable event is dropped alone.

| end of the stream | the answer is |
|---|---|
| `[DONE]` | whole |
| each choice has a finish_reason; then the body ends, the connection breaks, or silence | whole |
| each choice has at least an empty finish_reason (sglang); the body ends as HTTP wants it | whole |
| anything else | cut |
"""

from __future__ import annotations

import math
import time
from collections import Counter

from shared.clients.answers import answer_of
from shared.clients.event_reader import EventReader
from shared.clients.sse import EventParser, EventTooLarge, comment_of
from shared.clients.upstream_errors import garbage, of_exception, timed_out_error
from shared.errors import UpstreamError
from shared.quick_http.unpacking import Body
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.upstream import KEEP_ALIVE, Heard, Sink, Usage

MAX_STREAM_BYTES = 512 * 1024 * 1024
"""Largest stream, decompressed. It bounds an endless stream, not memory: events are passed on as they arrive."""
DRAIN_S = 0.25
"""Time for the end of a response, so that its connection is reused instead of closed."""
COMMENT_GAP_S = 0.25
"""Comments of the upstream are passed on at most this often."""


class HttpAnswerStream:
    """`AnswerStream` over a response's body. `deadline` and `first_by` are `time.monotonic` instants.

    Silence may last `gap_timeout_s`, and before the first event at least until `first_by`.
    """

    def __init__(
        self,
        answer: Body,
        *,
        gap_timeout_s: float,
        first_by: float,
        deadline: float,
        reader: EventReader,
    ) -> None:
        self._answer = answer
        self._gap_timeout_s = gap_timeout_s
        self._first_by = first_by
        self._deadline = deadline
        self._reader = reader
        self._parser = EventParser()
        self._sink: Sink | None = None
        self._frames: list[bytes] = []
        self._received = 0
        self._heard_at = self._put_at = time.monotonic()
        self._wake_at = self._keep_alive_s = math.inf
        self._done = False
        self._failure: UpstreamError | None = None
        self.events = 0
        self.comment = KEEP_ALIVE

    @property
    def usage(self) -> Usage | None:
        """Tokens and cost, once they have been seen."""
        return self._reader.usage

    @property
    def unread(self) -> Counter[str]:
        """Number of dropped events, by reason."""
        return self._reader.unread

    @property
    def end(self) -> bytes:
        """What ends a whole answer."""
        return self._reader.end

    @property
    def calls(self) -> tuple[str, ...]:
        """Ids of the tool calls."""
        return self._reader.choices.calls

    @property
    def choices(self) -> tuple[AnswerChoice, ...]:
        """What was said so far."""
        return self._reader.choices.said.choices()

    async def wait(self, within_s: float) -> Heard:
        """Wait for the first event or a comment; see the port."""
        self._parser.comment = None
        self._wake_at = time.monotonic() + within_s
        await self._hear()
        if self._frames:
            return Heard.EVENT
        if self._over:
            self._check_end()
        return Heard.NOTHING if self._parser.comment is None else Heard.COMMENT

    async def pour(self, sink: Sink, keep_alive_s: float = math.inf) -> None:
        """Put whole SSE events; see the port."""
        self._sink, self._keep_alive_s = sink, keep_alive_s
        self._put_at = time.monotonic()
        if self._frames:
            self._put()
        await sink.flush()
        self._heard_at = time.monotonic()  # the time that the client takes is not the upstream's
        while not self._over:
            heard = await self._hear()
            if not heard:
                self._put_comment(KEEP_ALIVE)
            await sink.flush()
            if heard:
                self._heard_at = time.monotonic()
        self._check_end()

    async def drain(self) -> None:
        """Read the end of the response, if it arrives soon."""
        until = time.monotonic() + DRAIN_S
        try:
            while not self._answer.ended and self._received <= MAX_STREAM_BYTES:
                self._received += len(await self._answer.read(until - time.monotonic()))
        except OSError:
            pass  # then the connection is closed instead

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._done or self._failure is not None or self._answer.ended

    def _check_end(self) -> None:
        """Raise UpstreamError if a finished stream is incomplete: each choice needs a finish_reason."""
        if self._failure is not None:
            raise self._failure
        if not self.events and not self._frames:
            raise self._nothing()
        if not self._done and not self._reader.choices.whole(delimited=self._answer.delimited):
            raise UpstreamError("the upstream's stream broke off", spent=True)

    def _nothing(self) -> UpstreamError:
        """Return the error for a stream without an event: it may be a JSON error under any content type."""
        if self._parser.document is None:
            return garbage("an empty stream")
        try:
            answer_of(bytes(self._parser.document).strip(), self._reader.refusal)
        except UpstreamError as error:
            return error
        return garbage("not a stream")

    def _break_off(self, error: UpstreamError) -> None:
        """End a stream whose connection broke or went silent, as a whole answer if nothing is missing."""
        self._read_rest()
        if self._reader.choices.whole_if_broken:
            self._done = True
        if not self._done:
            self._failure = self._failure or error

    def _read_rest(self) -> None:
        """Read a last event without its blank line."""
        try:
            self._read(self._parser.end())
        except EventTooLarge:
            pass
        except UpstreamError as error:
            self._failure = self._failure or error
        if self._frames and self._sink is not None:
            self._put()

    # -- hearing: each piece is read and put where it arrives, without a task that wakes up for it ---------------------

    async def _hear(self) -> bool:
        """Read until there is no room or to the end; return False if a timer is due first."""
        try:
            await self._answer.pour(self._take, self._left_s)
        except TimeoutError:
            if self._silent_until() > time.monotonic():
                return False
            self._break_off(timed_out_error())
        except OSError as error:
            self._break_off(of_exception(error))
        else:
            if self._answer.ended and not self._done:
                self._read_rest()
        return True

    def _silent_until(self) -> float:
        """Return the instant until which the upstream may be silent."""
        silent_by = self._heard_at + self._gap_timeout_s
        if not self.events:
            silent_by = max(silent_by, self._first_by)
        return min(silent_by, self._deadline)

    def _left_s(self) -> float:
        wake_at = self._wake_at if self._sink is None else self._put_at + self._keep_alive_s
        return min(self._silent_until(), wake_at) - time.monotonic()

    def _take(self, piece: bytes) -> bool:
        """Read a chunk and pass it on; return whether to read more immediately."""
        self._received += len(piece)
        self._heard_at = time.monotonic()
        try:
            if self._received > MAX_STREAM_BYTES:
                raise garbage("too large a stream")
            self._read(self._parser.feed(piece))
        except EventTooLarge as error:
            self._failure = garbage("too large an event")
            self._failure.__cause__ = error
        except UpstreamError as error:
            self._failure = error
        wanted = not self._done and self._failure is None
        if self._frames:
            return self._put() and wanted
        if self._parser.comment is not None:
            return self._hear_comment() and wanted
        return wanted

    def _put(self) -> bool:
        """Pass on read events; return whether there is room for more."""
        if self._sink is None:
            return False
        self.events += len(self._frames)
        self._put_at = self._heard_at
        piece = b"".join(self._frames)
        self._frames.clear()
        self._parser.comment = None
        return self._sink.put(piece)

    def _hear_comment(self) -> bool:
        """Pass a comment on, rate-limited; return whether to read more immediately."""
        self.comment = comment_of(self._parser.comment or b"")
        if self._sink is None:
            return False  # `wait` returns
        self._parser.comment = None
        return self._heard_at - self._put_at < COMMENT_GAP_S or self._put_comment(self.comment)

    def _put_comment(self, comment: bytes) -> bool:
        self._put_at = time.monotonic()
        return self._sink is not None and self._sink.put(comment)

    # -- events --------------------------------------------------------------------------------------------------------

    def _read(self, events: list[tuple[bytes, bytes]]) -> None:
        """Read events into frames, up to `[DONE]`. Raises UpstreamError."""
        reader = self._reader
        for kind, data in events:
            frame = reader.read(kind, data)
            if frame is not None:
                self._frames.append(frame)
            if reader.done:
                self._done = True
                break
