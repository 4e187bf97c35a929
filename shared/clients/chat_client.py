"""The upstream over HTTP: OpenRouter, or anything that speaks OpenAI's chat completions.

One fixed address, no redirects, bounded bodies, and a deadline for each wait: to connect, to the first event, between
data events (comments keep a connection alive, not an answer), and overall. Nothing is tried twice here: whether
another arm is asked is the gateway's decision, because it knows what has been paid for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from shared.bandit.arms import Arm
from shared.clients.answer_stream import HttpAnswerStream
from shared.clients.answers import (
    BadAnswer,
    arms_of,
    error_of,
    model_of,
    parse_answer,
    parse_object,
    text_length_of,
    usage_of,
)
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, of_status
from shared.schemas.upstream import Answer, Call
from shared.tracing import span

CONNECT_TIMEOUT_S = 3.0
CATALOGUE_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024

_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=2 * CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
"""Only the way to a connection; the waits after that are timed here, because a comment resets `sock_read`."""

_FAILURES = (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError)


class HttpChatModel:
    """`ChatModel` over a session that belongs to the caller and is used for nothing else.

    `api_key` goes out with every call; without one, the calls' own control headers do (a simulated upstream).
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        api_key: str | None,
        *,
        first_byte_timeout_s: float,
        gap_timeout_s: float,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._first_byte_timeout_s = first_byte_timeout_s
        self._gap_timeout_s = gap_timeout_s
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # answers are small, and unpacking a stream delays it
            "HTTP-Referer": "https://github.com/llm-router/llm-router",
            "X-Title": "LLM Router",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    async def complete(self, call: Call) -> Answer:
        """Return the answer. Raises UpstreamError."""
        dropped = ("stream", "stream_options")
        payload = {name: value for name, value in call.body.items() if name not in dropped}
        async with self._ask(call, payload) as response:
            raw = await self._read_answer(response, call.deadline)
        return answer_of(raw)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[HttpAnswerStream]:
        """Open a stream; entering waits for the first data event. Raises UpstreamError."""
        first_by = time.monotonic() + self._first_byte_timeout_s
        asked = call.body.get("stream_options")
        options = {**asked} if isinstance(asked, Mapping) else {}
        include_usage = options.get("include_usage") is True
        payload = {**call.body, "stream": True, "stream_options": {**options, "include_usage": True}}
        async with self._ask(call, payload) as response:
            if response.content_type in ("application/json", "text/html"):
                answer_of(await self._read_answer(response, call.deadline))  # raises what an error in it means
                raise garbage("not a stream")
            stream = HttpAnswerStream(
                response.content, gap_timeout_s=self._gap_timeout_s, deadline=call.deadline, with_usage=include_usage
            )
            await stream.open(first_by)
            yield stream
            await stream.drain()  # so that the connection can be used again

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return every model of the upstream with its price. Raises UpstreamError."""
        try:
            async with (
                asyncio.timeout(CATALOGUE_TIMEOUT_S),
                self._session.get(
                    f"{self._base_url}/models", headers=self._headers, allow_redirects=False, timeout=_TIMEOUTS
                ) as response,
            ):
                if response.status != 200:
                    raise of_status(response.status, response.headers, b"", self._api_key)
                return arms_of(parse_object(await _read(response, MAX_ANSWER_BYTES)))
        except BadAnswer as error:
            raise garbage(str(error)) from error
        except _FAILURES as error:
            raise of_exception(error) from error

    @asynccontextmanager
    async def _ask(self, call: Call, payload: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, and yield a response of status 200. Whatever is left unread closes the connection."""
        headers = self._headers | {"X-Request-ID": call.request_id}
        if not self._api_key:
            headers |= call.headers
        with span("upstream") as trace_headers:
            async with self._post(call, payload, {**headers, **trace_headers}) as response:
                yield response

    @asynccontextmanager
    async def _post(
        self, call: Call, payload: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        wait_s = min(self._first_byte_timeout_s, call.deadline - time.monotonic())
        try:
            async with asyncio.timeout(wait_s):
                response = await self._session.post(
                    f"{self._base_url}/chat/completions",
                    data=orjson.dumps({**payload, "model": call.arm}),
                    headers=headers,
                    allow_redirects=False,
                    timeout=_TIMEOUTS,
                )
        except _FAILURES as error:
            raise of_exception(error) from error
        try:
            if response.status != 200:
                raise await self._refusal(response)
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        raw = b""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                raw = await _read(response, MAX_ERROR_BYTES)
        except (*_FAILURES, BadAnswer):
            pass  # the status says enough
        return of_status(response.status, response.headers, raw, self._api_key)

    async def _read_answer(self, response: aiohttp.ClientResponse, deadline: float) -> bytes:
        """Read a whole answer; once its text has begun, it may not stall."""
        parts: list[bytes] = []
        size = 0
        begun = False
        try:
            while True:
                left = deadline - time.monotonic()
                async with asyncio.timeout(min(left, self._gap_timeout_s) if begun else left):
                    part = await response.content.readany()
                if not part:
                    return b"".join(parts).strip()
                begun = begun or not part.isspace()  # OpenRouter sends blanks while a model thinks
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise garbage("too large")
                parts.append(part)
        except _FAILURES as error:
            raise of_exception(error) from error


def answer_of(raw: bytes) -> Answer:
    """Return a whole answer, or raise the UpstreamError that it means."""
    try:
        body = parse_answer(raw)
    except BadAnswer as error:
        raise garbage(str(error)) from error
    failure = error_of(body)
    if failure is not None:
        raise of_error_body(failure)
    return Answer(body=raw, usage=usage_of(body), model=model_of(body), chars=text_length_of(body))


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > limit:
            raise BadAnswer("too large")
    return bytes(body)
