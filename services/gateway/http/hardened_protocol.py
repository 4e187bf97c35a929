"""aiohttp's HTTP server, hardened: deadlines, a connection cap, and protocol errors in our shape.

aiohttp has no deadline for headers, no idle or write deadline and no cap, and its 400 for a malformed request echoes
and logs the offending line, an `Authorization` header included. This server has none of these faults.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from services.gateway.http.client_addresses import Addresses
from services.gateway.http.error_responses import bad_request, problem_response
from services.gateway.http.request_body import too_large, unsupported_encoding
from shared.errors import RequestTimeout, Unavailable
from shared.fast_path.protocol import HALF_CLOSE_S
from shared.logs import get_logger
from shared.settings import Settings

HEADER_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 75.0
"""Longer than the idle timeout of common load balancers (60 s), so that they close first."""

WRITE_TIMEOUT_S = 30.0
LINGER_S = 2.0
LINGER_TOTAL_S = 10.0
LINGER_BYTES = 33_554_432
"""Bounds of what is read and discarded of a rest of a body (time without a byte, total time, bytes), so that the client
sees the response and no reset. Clients that are refused at the same time share the bandwidth: a total of 2 s was too
short for a hundred bodies of 8 MB."""

MAX_CONNECTIONS = 4096
LEAST_SHARE = 16
"""Connections that an address may hold at any cap: a browser opens several."""

log = get_logger(__name__)


class HardenedHandler(RequestHandler):
    """Protocol of one connection, with deadlines for headers and writes."""

    __slots__ = ("_header_timeout_s", "_header_timer", "_heard", "_write_timeout_s", "_write_timer")

    def __init__(
        self, manager: HardenedServer, *, header_timeout_s: float, write_timeout_s: float, **rest: Any
    ) -> None:
        super().__init__(manager, **rest)
        self._header_timeout_s = header_timeout_s
        self._write_timeout_s = write_timeout_s
        self._heard = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # -- opening and reading: silent and slow clients are disconnected -----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the header deadline, or refuse the connection at a cap."""
        refusal = cast("HardenedServer", self._manager).refusal(transport)
        if refusal is not None:
            self._force_close = True  # what still arrives is dropped
            _write_error_and_close(cast("asyncio.Transport", transport), refusal)
            return
        super().connection_made(transport)
        self._arm_header_timer()

    def data_received(self, data: bytes) -> None:
        """Run the header deadline from the first byte of a request to the end of its headers."""
        self._heard = True
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._disarm_header_timer()
        elif self._header_timer is None and self._idle:
            self._arm_header_timer()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio reads it; aiohttp returns None, which closes
        """Return whether the connection stays open for the response in work, after the client has sent everything.

        A client may close its sending side and wait for the response.
        """
        if self.transport is None or self._current_request is None:
            return False
        self.close()  # after the response
        self._loop.call_later(HALF_CLOSE_S, self._give_up, self._current_request)
        return True

    def _give_up(self, request: web.BaseRequest) -> None:
        if self.transport is not None and self._current_request is request:
            self.transport.abort()

    @property
    def _idle(self) -> bool:
        """Whether the handler waits for the next request."""
        return self._waiter is not None and not self._waiter.done()

    def _arm_header_timer(self) -> None:
        self._header_timer = self._loop.call_later(self._header_timeout_s, self._headers_are_late)

    def _disarm_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_are_late(self) -> None:
        self._header_timer = None
        transport = self.transport
        if transport is not None and self._idle:
            if self._heard:
                _write_error_and_close(
                    transport, RequestTimeout("The headers did not arrive in time.", code="request_timeout")
                )
            self.force_close()

    # -- writing: clients that do not read are disconnected ----------------------------------------------------------

    def pause_writing(self) -> None:
        """Start the write deadline: the buffers on both sides are full."""
        super().pause_writing()
        self._arm_write_timer()

    def resume_writing(self) -> None:
        """Stop the write deadline: the client reads."""
        super().resume_writing()
        self._disarm_write_timer()

    def force_close(self) -> None:
        """Close, and send what is buffered within the write deadline."""
        transport = self.transport
        super().force_close()
        if transport is not None:
            self._loop.call_later(self._write_timeout_s, transport.abort)

    def _arm_write_timer(self) -> None:
        transport = self.transport
        if transport is not None:
            self._write_timer = self._loop.call_later(self._write_timeout_s, transport.abort)

    def _disarm_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the deadlines; a handler that still runs is cancelled."""
        self._disarm_header_timer()
        self._disarm_write_timer()
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, then discard the rest of the body; aiohttp would block the event loop meanwhile."""
        finished = await super().finish_response(request, resp, start_time)
        if not request.content.is_eof() and not self._force_close:
            with suppress(TimeoutError, HttpProcessingError, RequestPayloadError, ConnectionError):
                await _drop(request.content)
        return finished

    # -- errors before or outside the application --------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the parser's message quotes the request
    ) -> web.StreamResponse:
        """Return the response to a malformed request, without a byte of it in response or log."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun; a second one cannot be sent")
        response: web.Response
        if isinstance(exc, ContentEncodingError):
            response = problem_response(unsupported_encoding())
        elif status == 400:
            log.info("malformed request", kind=type(exc).__name__)
            response = bad_request()
        else:
            log.error("request failed outside the application", exc_info=exc)
            response = problem_response(exc if exc is not None else Exception())
        response.force_close()
        return response


class HardenedServer(web.Server):
    """aiohttp's server with `HardenedHandler`s, a cap on connections, and a share of it for each client address."""

    def __init__(self, application: web.Server, settings: Settings, *, max_connections: int, **timeouts: float) -> None:
        super().__init__(
            _guarded(application.request_handler, settings.MAX_BODY_BYTES),
            request_factory=application.request_factory,
            handler_cancellation=True,  # a client that leaves stops its upstream call
        )
        self._max_connections = max_connections
        self._share = settings.MAX_CONNECTIONS_PER_ADDRESS or max(LEAST_SHARE, max_connections // 2)
        self._addresses = Addresses()
        self._timeouts = timeouts

    def refusal(self, transport: asyncio.BaseTransport) -> Unavailable | None:
        """Return the error for a new connection beyond the cap, None below it."""
        if len(self._connections) >= self._max_connections:
            return Unavailable("Too many connections.", code="overloaded")
        if self._addresses.held_by(transport) >= self._share:
            return Unavailable("Too many connections from this address.", code="too_many_connections")
        return None

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection."""
        super().connection_made(handler, transport)
        self._addresses.add(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Remove it from the count."""
        super().connection_lost(handler, exc)
        self._addresses.remove(handler)

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return HardenedHandler(
            self,
            loop=self._loop,
            access_log=cast("Any", None),
            keepalive_timeout=KEEP_ALIVE_S,
            lingering_time=0,  # ours is `_drop`
            **self._timeouts,
        )


def connection_cap() -> int:
    """Return the cap on connections: half of the file descriptors, because each may need one for the upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(MAX_CONNECTIONS, soft // 2))


async def _drop(content: StreamReader) -> None:
    """Discard the rest of a body, within bounds. Decompression may go on for long, so each step yields to the loop."""
    dropped = 0
    until = asyncio.get_running_loop().time() + LINGER_TOTAL_S
    async with asyncio.timeout(LINGER_S) as silence:
        # No piece is kept across a yield: of a hundred clients refused at the same time each would hold 256 KiB.
        while dropped < LINGER_BYTES and (size := len(await content.readany())):
            dropped += size
            silence.reschedule(min(until, asyncio.get_running_loop().time() + LINGER_S))
            await asyncio.sleep(0)


_AppHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _guarded(handle: _AppHandler, limit: int) -> _AppHandler:
    """Wrap the application, so that errors before its middleware runs have our shape, too."""

    async def guarded(request: web.BaseRequest) -> web.StreamResponse:
        if (request.content_length or 0) > limit:  # before `100 Continue` invites the body
            return problem_response(too_large(limit))
        try:
            return await handle(request)
        except web.HTTPException as error:
            return problem_response(error)

    return guarded


def _write_error_and_close(transport: asyncio.Transport, error: RequestTimeout | Unavailable) -> None:
    """Write an error response without a request, and close."""
    answer = problem_response(error)
    body = answer.body if isinstance(answer.body, bytes) else b""
    head = [
        f"HTTP/1.1 {answer.status} {answer.reason}",
        f"{hdrs.CONTENT_TYPE}: application/json",
        f"{hdrs.CONTENT_LENGTH}: {len(body)}",
        f"{hdrs.CONNECTION}: close",
    ]
    if hdrs.RETRY_AFTER in answer.headers:
        head.append(f"{hdrs.RETRY_AFTER}: {answer.headers[hdrs.RETRY_AFTER]}")
    transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    transport.close()
