"""A server's fast lane: plain requests to a few routes are answered here, everything else by aiohttp.

aiohttp's server takes about 50 us of processor time a request, most of it for what these requests do not need. A lane
is the first protocol of a connection. While what comes is plain (`plain.py`) it reads, asks the route's handler and
writes. At the first thing that is not, and where a client is slow, it gives the connection with every byte received to
aiohttp's own protocol, for good; so each odd case is parsed, refused and timed by aiohttp as if there were no lane.

A lane is one of the connections of aiohttp's `Server`, which counts and drains it like its own: it calls `close` and
`shutdown`, and reads `_task_handler`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import web

from shared.quick_http.deadline_timer import DeadlineTimer
from shared.quick_http.plain_request import Head, NotPlain, Question, read_head
from shared.quick_http.response_writer import Answer, ResponseWriter

__all__ = ["Answer", "FastPath", "FastPathSite", "Handler"]

PATIENCE_S = 1.0
"""So long a request may take to arrive; then it is aiohttp's, with its deadlines."""
HALF_CLOSE_S = 0.8
"""A client that has closed its sending side still gets an answer that is ready by then. One that has left for good
looks the same, and its upstream call should be stopped soon."""
MAX_BEHIND_BYTES = 65_536
"""What may arrive behind a request in work; beyond it, the sender waits."""


Handler = Callable[[Question], Awaitable[Answer | None]]
"""Returns a whole answer, or None where it has sent one in pieces by the question's outlet."""


class FastPath:
    """Makes a lane for each connection."""

    def __init__(
        self,
        server: web.Server,
        routes: Mapping[bytes, Handler],
        failed: Callable[[Exception], Answer],
        *, max_body: int, keep_s: float,
        write_s: float | None = None,
        takes: Callable[[Question], bool] = lambda _question: True,
        full: Callable[[asyncio.BaseTransport], bool] = lambda _transport: False,
    ) -> None:  # fmt: skip
        """Take aiohttp's server, the handlers by their request lines, and what turns an error into an answer.

        A body of more than `max_body` bytes is aiohttp's, and so is what `takes` does not want; an idle connection is
        closed after `keep_s`, one whose client does not read its answer after `write_s` (by default the same). A
        connection for which it is `full` is aiohttp's at once, to be turned away.
        """
        self.server = server
        self.routes = routes
        self.failed = failed
        self.max_body = max_body
        self.keep_s = keep_s
        self.write_s = keep_s if write_s is None else write_s
        self.takes = takes
        self.full = full

    def __call__(self) -> FastPathProtocol:
        """Return the protocol of a new connection."""
        return FastPathProtocol(self)


class FastPathProtocol(asyncio.Protocol):
    """One connection, one request at a time; what comes behind it waits in `_buffer`."""

    def __init__(self, lanes: FastPath) -> None:
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task_handler: asyncio.Task[None] | None = None  # aiohttp's name; the handler at work
        self._buffer = bytearray()
        self._head: Head | None = None
        self._silent = True  # nothing has ever been asked
        self._late = self._held = False
        self._outlet = ResponseWriter()
        self._alarm = DeadlineTimer(self._look)

    # -- opening and closing -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Become one of the server's connections."""
        full = self._lanes.full(transport)
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio
        self._outlet.open(self._transport)
        self._lanes.server.connection_made(cast("Any", self), self._transport)  # it takes what has the three names
        if full:
            self._hand_over(b"")
        else:
            self._wait(PATIENCE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the handler: nobody waits for its answer."""
        task = self._task_handler
        self._leave(exc)
        if task is not None:
            task.cancel()

    def eof_received(self) -> bool:
        """Return whether the connection stays open for the answer in work, after the client has sent all that it will.

        A client may close its sending side and wait for the answer.
        """
        if self._task_handler is None or self._transport is None:
            return False
        self._outlet.last = True
        self._loop.call_later(HALF_CLOSE_S, self._give_up)
        return True

    def _give_up(self) -> None:
        if self._transport is not None and self._task_handler is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close now or behind the answer in work (aiohttp's `Server`, before it shuts down)."""
        self._outlet.last = True
        if self._task_handler is None and self._transport is not None:
            self._transport.close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's `Server` calls it
        """Give the request in work so long, then cancel it."""
        self.close()
        task = self._task_handler
        if task is not None:
            await asyncio.wait([task], timeout=timeout)
            task.cancel()
            await asyncio.wait([task], timeout=timeout)
        if self._transport is not None:
            self._transport.close()

    def _leave(self, exc: Exception | None = None) -> None:
        self._transport = None
        self._outlet.leave()
        self._alarm.stop()
        self._lanes.server.connection_lost(cast("Any", self), exc)

    def _hand_over(self, data: bytes | bytearray) -> None:
        """Let aiohttp's protocol have the connection and what has come."""
        transport = self._transport
        if transport is None or self._outlet.last:
            self.close()
            return
        self._leave()
        heir = self._lanes.server()
        transport.set_protocol(heir)
        heir.connection_made(transport)
        if data:
            heir.data_received(bytes(data))

    # -- time ----------------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Look in so many seconds."""
        self._alarm.set(self._loop.time() + seconds)

    def _look(self) -> None:
        if self._transport is None:
            pass
        elif self._outlet.full:
            self._transport.abort()  # it does not read its answer
        elif self._task_handler is not None:
            pass  # its end sets the next time
        elif self._silent or self._buffer:
            self._hand_over(self._buffer)
        else:
            self._transport.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Begin with a request when it is complete."""
        if self._task_handler is not None or self._outlet.full:
            self._buffer += data
            if len(self._buffer) > MAX_BEHIND_BYTES and not self._held and self._transport is not None:
                self._held = True
                self._transport.pause_reading()
        elif self._buffer:
            self._buffer += data
            self._read(self._buffer)
        else:
            self._read(data)

    def _read(self, data: bytes | bytearray) -> None:
        """Take a request from the beginning of `data`, which is the buffer or is kept there."""
        lanes = self._lanes
        try:
            head = self._head or read_head(data, lanes.routes, lanes.max_body)
        except NotPlain:
            self._hand_over(data)
            return
        if head is None or len(data) < head.end:
            self._head = head
            if data is not self._buffer:
                self._buffer += data
            if not self._late:
                self._late = True
                self._wait(PATIENCE_S)
            return
        question = Question(head.headers, bytes(data[head.start : head.end]), self._outlet)
        if not lanes.takes(question):
            self._hand_over(data)
            return
        if len(data) > head.end or self._buffer:
            self._buffer = bytearray(data[head.end :])
        self._head, self._silent, self._late = None, False, False
        self._task_handler = self._loop.create_task(self._work(lanes.routes[head.line], question), name="lane")

    # -- answering -----------------------------------------------------------------------------------------------------

    async def _work(self, handler: Handler, question: Question) -> None:
        try:
            try:
                self._answer(await handler(question))
            except Exception as error:  # noqa: BLE001 - the edge of the service
                self._answer(self._lanes.failed(error))
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise
        self._task_handler = None
        self._rest()

    def _answer(self, answer: Answer | None) -> None:
        """Write a whole answer, or cut one in pieces that is unfinished: a second would be read as part of it."""
        if self._outlet.begun and self._transport is not None:
            self._outlet.leave()
            self._transport.abort()
        elif answer is not None:
            self._outlet.write(answer)

    def _rest(self) -> None:
        """Go on after an answer, or when its last bytes are being read."""
        if self._transport is None or self._outlet.full:
            return
        if self._outlet.last:
            self._transport.close()
            return
        self._wait(self._lanes.keep_s)
        if self._held:
            self._held = False
            self._transport.resume_reading()
        if self._buffer:
            self._read(self._buffer)

    def pause_writing(self) -> None:
        """Give the client so long to read. Until then there is no other request: its answer would have to be kept."""
        self._outlet.full = True
        self._wait(self._lanes.write_s)

    def resume_writing(self) -> None:
        """Go on."""
        self._outlet.resume()
        if self._task_handler is None:
            self._rest()


class FastPathSite(web.BaseSite):
    """Where lanes listen: started, and stopped by its runner, like aiohttp's own sites."""

    def __init__(self, runner: web.AppRunner, lanes: FastPath, host: str, port: int, *, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._lanes = lanes
        self._where = host, port

    @property
    def name(self) -> str:
        """Its address."""
        host, port = self._where
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._lanes, *self._where, backlog=self._backlog)
