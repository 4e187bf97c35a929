"""`ChatModel` over HTTP: OpenRouter, or any server with OpenAI's chat completions.

One fixed address, no redirects, bounded bodies, and a deadline for each wait: to connect, to a stream's first byte and
between two of its bytes (comments count), and overall. There are no retries here: whether another arm is called is the
gateway's decision, because it knows what may be billed. One exception costs nothing: an upstream that refuses our own
`stream_options` is called again without.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from ssl import SSLContext
from typing import Any

import orjson

from shared import __version__
from shared.bandit.arms import Arm
from shared.clients.answer_stream import HttpAnswerStream
from shared.clients.answers import BadAnswer, answer_of, parse_json
from shared.clients.event_reader import EventReader
from shared.clients.masking import Mask, secrets_of
from shared.clients.model_list import arms_of
from shared.clients.native_answers import native_answer_of, native_events
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, of_status
from shared.logs import get_logger
from shared.quick_http import Incoming, Proxy, QuickHttp
from shared.quick_http.unpacking import Body, UnknownPacking, unpack, unpacked
from shared.schemas.upstream import Answer, Call
from shared.tracing import span

_log = get_logger(__name__)

AUTHORIZATION = "Authorization"
CONNECT_TIMEOUT_S = 3.0
CATALOGUE_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 33 * 1024 * 1024
"""Room for a picture of 32 MiB, unpacked."""
MAX_ERROR_BYTES = 64 * 1024

MAX_CALLS = 8192
"""Bound of connections, above any real number of calls; the gateway limits concurrency."""

UNKNOWN_PACKING = "its content-encoding is none of gzip, deflate and identity"

_FAILURES = (OSError, ValueError)

STREAM_OPTIONS_S = 3600.0
"""Time for which an upstream that refused our `stream_options` is called without."""
_REFUSALS = frozenset({400, 422})
_STREAM_OPTIONS = (b"stream_options", b"include_usage")


class _OptionsRefused(Exception):
    """Error: the upstream does not know the `stream_options` that we have added."""


def connections(base_url: str, *, proxy: Proxy | None = None, tls: SSLContext | None = None) -> QuickHttp:
    """Return the connections to an upstream."""
    return QuickHttp(base_url, limit=MAX_CALLS, connect_s=CONNECT_TIMEOUT_S, proxy=proxy, tls=tls)


class HttpChatModel:
    """`ChatModel` over connections that belong to the caller and are used for nothing else.

    `api_key` goes out with every call, as a bearer token or alone in another header (Azure's `api-key`); without one,
    the calls' own control headers do (a simulated upstream). `stream_options`: whether the upstream knows that field.
    """

    def __init__(
        self,
        http: QuickHttp,
        api_key: str | None,
        *,
        first_byte_timeout_s: float,
        gap_timeout_s: float,
        api_key_header: str = AUTHORIZATION,
        extra_headers: Mapping[str, str] | None = None,
        stream_options: bool = True,
    ) -> None:
        extra = extra_headers or {}
        self._http = http
        self._api_key = api_key
        self._first_byte_timeout_s = first_byte_timeout_s
        self._gap_timeout_s = gap_timeout_s
        self._no_options_until = 0.0 if stream_options else math.inf
        self._mask = Mask([*secrets_of(http.base_url, api_key), *extra.values()])
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"llm-router/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # a wish: gzip and deflate are read, too
            "HTTP-Referer": "https://github.com/llm-router/llm-router",
            "X-Title": "LLM Router",
        }
        self._headers |= extra
        if api_key:
            bearer = api_key_header.lower() == AUTHORIZATION.lower()
            self._headers[api_key_header] = f"Bearer {api_key}" if bearer else api_key

    async def complete(self, call: Call) -> Answer:
        """Return the answer. Raises UpstreamError."""
        dropped = ("stream", "stream_options")
        body = call.body if call.native is None else call.native.body
        payload = {name: value for name, value in body.items() if name not in dropped}
        with span("upstream") as trace_headers:
            answer = await self._ask(call, payload, trace_headers, head_by=call.deadline)
            try:
                raw = await self._read_answer(answer, call.deadline)
            finally:
                answer.close()
        refusal = partial(of_error_body, call=call, mask=self._mask)
        return answer_of(raw, refusal) if call.native is None else native_answer_of(call.native.api, raw, refusal)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[HttpAnswerStream]:
        """Open a stream; entering waits until the upstream has accepted it. Raises UpstreamError."""
        first_by = time.monotonic() + self._first_byte_timeout_s
        with span("upstream") as trace_headers:
            answer = await self._ask_for_stream(call, trace_headers, first_by)
            try:
                stream = HttpAnswerStream(
                    answer,
                    gap_timeout_s=self._gap_timeout_s,
                    first_by=first_by,
                    deadline=call.deadline,
                    reader=EventReader(
                        with_usage=call.include_usage,
                        choices=_choices(call),
                        refusal=partial(of_error_body, call=call, mask=self._mask),
                        native=None if call.native is None else native_events(call.native.api),
                    ),
                )
                yield stream
                await stream.drain()  # so that the connection can be used again
            finally:
                answer.close()

    async def _ask_for_stream(self, call: Call, trace_headers: Mapping[str, str], first_by: float) -> Body:
        """Request a stream with usage, or without if the upstream does not support it."""
        if call.native is not None:  # other APIs always stream the usage
            return await self._ask(call, {**call.native.body, "stream": True}, trace_headers, head_by=first_by)
        payload = {**call.body, "stream": True}
        ours = "stream_options" not in payload
        if not ours or time.monotonic() >= self._no_options_until:
            with_usage = {**payload, "stream_options": {**_stream_options(call), "include_usage": True}}
            try:
                return await self._ask(call, with_usage, trace_headers, head_by=first_by, options_are_ours=ours)
            except _OptionsRefused:
                self._no_options_until = time.monotonic() + STREAM_OPTIONS_S
                _log.warning("the upstream refuses stream_options: usage of streams is estimated")
        return await self._ask(call, payload, trace_headers, head_by=first_by)

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return every model of the upstream with its price. Raises UpstreamError."""
        try:
            reply = await self._http.request(
                "GET", "/models", headers=self._headers, most=MAX_ANSWER_BYTES, within_s=CATALOGUE_TIMEOUT_S
            )
            if reply.status != 200:
                raise of_status(reply.status, reply.headers, b"")
            return arms_of(parse_json(unpack(reply.headers, reply.body, MAX_ANSWER_BYTES)))
        except (BadAnswer, UnknownPacking) as error:
            raise garbage(str(error) or UNKNOWN_PACKING) from error
        except _FAILURES as error:
            raise of_exception(error) from error

    async def _ask(
        self, call: Call, payload: Mapping[str, Any], trace_headers: Mapping[str, str],
        *, head_by: float, options_are_ours: bool = False,
    ) -> Body:  # fmt: skip
        """Send; return an answer of status 200, which the caller closes; an unread rest closes its connection."""
        headers = {**self._headers, "X-Request-ID": call.request_id}
        if not self._api_key:
            headers.update(call.headers)
        if call.native is not None:
            headers.update(call.native.headers)
        headers.update(trace_headers)
        answer = await self._open(call, payload, headers, head_by)
        try:
            return await self._accepted(answer, call, options_are_ours=options_are_ours)
        except BaseException:  # cancelled, too
            answer.close()
            raise

    async def _accepted(self, answer: Incoming, call: Call, *, options_are_ours: bool) -> Body:
        """Return an answer of status 200. Raises UpstreamError for any other, and _OptionsRefused."""
        if answer.status == 200:
            try:
                return unpacked(answer)
            except UnknownPacking as error:
                raise garbage(UNKNOWN_PACKING) from error
        raw = await self._read_refusal(answer)
        if options_are_ours and answer.status in _REFUSALS and any(word in raw for word in _STREAM_OPTIONS):
            raise _OptionsRefused
        raise of_status(answer.status, answer.headers, raw, call, self._mask)

    async def _open(
        self, call: Call, payload: Mapping[str, Any], headers: Mapping[str, str], head_by: float
    ) -> Incoming:
        within_s = min(head_by, call.deadline) - time.monotonic()
        try:
            # Not kept in a variable: a big body is freed as soon as it is sent, however long the answer takes.
            return await self._http.open(
                "POST", _path(call), orjson.dumps({**payload, "model": call.arm}), headers, within_s=within_s
            )
        except _FAILURES as error:
            raise of_exception(error) from error

    async def _read_refusal(self, answer: Incoming) -> bytes:
        """Return the body of an error; empty if it is too large or unreadable: the status is enough."""
        raw = b""
        until = time.monotonic() + CONNECT_TIMEOUT_S
        try:
            body = unpacked(answer)
            while not body.ended and len(raw) <= MAX_ERROR_BYTES:
                raw += await body.read(until - time.monotonic())
        except (*_FAILURES, UnknownPacking):
            return b""
        return raw if len(raw) <= MAX_ERROR_BYTES else b""

    async def _read_answer(self, answer: Body, deadline: float) -> bytes:
        """Read a whole answer; a model may be silent for long before it or within it."""
        parts: list[bytes] = []
        size = 0
        try:
            while not answer.ended:
                part = await answer.read(deadline - time.monotonic())
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise garbage("too large")
                parts.append(part)
        except _FAILURES as error:
            raise of_exception(error) from error
        return b"".join(parts).strip()


def _path(call: Call) -> str:
    return "/chat/completions" if call.native is None else f"/{call.native.api}"


def _stream_options(call: Call) -> Mapping[str, Any]:
    """Return the client's own options of a stream."""
    options = call.body.get("stream_options")
    return options if isinstance(options, Mapping) else {}


def _choices(call: Call) -> int:
    """Return the number of choices that the client requested."""
    number = call.body.get("n")
    return number if isinstance(number, int) and number > 0 else 1
