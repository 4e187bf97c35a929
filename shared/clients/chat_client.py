"""The upstream over HTTP: OpenRouter, or anything that speaks OpenAI's chat completions.

One fixed address, no redirects, bounded bodies, and a deadline for each wait: to connect, to the first event, between
data events (comments keep a connection alive, not an answer), and overall. Nothing is tried twice here: whether
another arm is asked is the gateway's decision, because it knows what has been paid for.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from shared import __version__
from shared.bandit.arms import Arm
from shared.clients.answer_stream import HttpAnswerStream
from shared.clients.answers import (
    BadAnswer,
    choices_of,
    error_of,
    messages_of,
    model_of,
    parse_json,
    parse_object,
    text_length_of,
)
from shared.clients.model_list import arms_of
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, of_status
from shared.clients.usage import usage_of
from shared.quick_http import Incoming, QuickHttp
from shared.schemas.tool_loops import call_ids_of
from shared.schemas.upstream import Answer, Call
from shared.tracing import span

CONNECT_TIMEOUT_S = 3.0
CATALOGUE_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024

MAX_CALLS = 8192
"""More than could be in flight; how many may be is the gateway's decision."""

_FAILURES = (OSError, ValueError)
_NOT_PACKED = frozenset({"", "identity"})


def connections(base_url: str) -> QuickHttp:
    """Return the connections to an upstream."""
    return QuickHttp(base_url, limit=MAX_CALLS, connect_s=CONNECT_TIMEOUT_S)


class HttpChatModel:
    """`ChatModel` over connections that belong to the caller and are used for nothing else.

    `api_key` goes out with every call; without one, the calls' own control headers do (a simulated upstream).
    """

    def __init__(
        self,
        http: QuickHttp,
        api_key: str | None,
        *,
        first_byte_timeout_s: float,
        gap_timeout_s: float,
    ) -> None:
        self._http = http
        self._api_key = api_key
        self._first_byte_timeout_s = first_byte_timeout_s
        self._gap_timeout_s = gap_timeout_s
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"llm-router/{__version__}",
            "Accept": "*/*",
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
        with span("upstream") as trace_headers:
            answer = await self._ask(call, payload, trace_headers)
            try:
                raw = await self._read_answer(answer, call.deadline)
            finally:
                answer.close()
        return answer_of(raw)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[HttpAnswerStream]:
        """Open a stream; entering waits for the first data event. Raises UpstreamError."""
        first_by = time.monotonic() + self._first_byte_timeout_s
        asked = call.body.get("stream_options")
        options = {**asked} if isinstance(asked, Mapping) else {}
        include_usage = options.get("include_usage") is True
        payload = {**call.body, "stream": True, "stream_options": {**options, "include_usage": True}}
        with span("upstream") as trace_headers:
            answer = await self._ask(call, payload, trace_headers)
            try:
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind in ("application/json", "text/html"):
                    answer_of(await self._read_answer(answer, call.deadline))  # raises what an error in it means
                    raise garbage("not a stream")
                stream = HttpAnswerStream(
                    answer, gap_timeout_s=self._gap_timeout_s, deadline=call.deadline, with_usage=include_usage
                )
                await stream.open(first_by)
                yield stream
                await stream.drain()  # so that the connection can be used again
            finally:
                answer.close()

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return every model of the upstream with its price. Raises UpstreamError."""
        try:
            reply = await self._http.request(
                "GET", "/models", headers=self._headers, most=MAX_ANSWER_BYTES, within_s=CATALOGUE_TIMEOUT_S
            )
            if reply.status != 200:
                raise of_status(reply.status, reply.headers, b"", self._api_key)
            return arms_of(parse_json(reply.body))
        except BadAnswer as error:
            raise garbage(str(error)) from error
        except _FAILURES as error:
            raise of_exception(error) from error

    async def _ask(self, call: Call, payload: Mapping[str, Any], trace_headers: Mapping[str, str]) -> Incoming:
        """Send; return an answer of status 200. Closing it is the caller's; what is left unread ends its connection."""
        headers = {**self._headers, "X-Request-ID": call.request_id}
        if not self._api_key:
            headers.update(call.headers)
        headers.update(trace_headers)
        answer = await self._open(call, payload, headers)
        try:
            await self._check(answer)
        except BaseException:  # cancelled, too
            answer.close()
            raise
        return answer

    async def _check(self, answer: Incoming) -> None:
        """Raise what another status means, or a packed body."""
        if answer.status != 200:
            raise await self._refusal(answer)
        if answer.headers.get("content-encoding", "").lower() not in _NOT_PACKED:
            raise garbage("packed, which it was asked not to be")

    async def _open(self, call: Call, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Incoming:
        body = orjson.dumps({**payload, "model": call.arm})
        within_s = min(self._first_byte_timeout_s, call.deadline - time.monotonic())
        try:
            return await self._http.open("POST", "/chat/completions", body, headers, within_s=within_s)
        except _FAILURES as error:
            raise of_exception(error) from error

    async def _refusal(self, answer: Incoming) -> Exception:
        raw = b""
        until = time.monotonic() + CONNECT_TIMEOUT_S
        try:
            while not answer.ended and len(raw) <= MAX_ERROR_BYTES:
                raw += await answer.read(until - time.monotonic())
        except _FAILURES:
            raw = b""  # the status says enough
        return of_status(answer.status, answer.headers, raw if len(raw) <= MAX_ERROR_BYTES else b"", self._api_key)

    async def _read_answer(self, answer: Incoming, deadline: float) -> bytes:
        """Read a whole answer; once its text has begun, it may not stall."""
        parts: list[bytes] = []
        size = 0
        begun = False
        try:
            while not answer.ended:
                left = deadline - time.monotonic()
                part = await answer.read(min(left, self._gap_timeout_s) if begun else left)
                begun = begun or not part.isspace()  # OpenRouter sends blanks while a model thinks
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise garbage("too large")
                parts.append(part)
        except _FAILURES as error:
            raise of_exception(error) from error
        return b"".join(parts).strip()


def answer_of(raw: bytes) -> Answer:
    """Return a whole answer, or raise the UpstreamError that it means."""
    try:
        body = parse_object(raw)
        failure = error_of(body, choices_of(body))
        if failure is not None:
            raise of_error_body(failure)
        messages = messages_of(body)
    except BadAnswer as error:
        raise garbage(str(error)) from error
    return Answer(
        body=raw,
        usage=usage_of(body),
        model=model_of(body),
        chars=text_length_of(messages),
        calls=call_ids_of(messages),
    )
