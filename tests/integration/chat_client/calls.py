"""Calls of the chat client, and helpers for their results."""

from __future__ import annotations

import time

import pytest

from shared.clients.chat_client import HttpChatModel
from shared.errors import UpstreamError
from shared.schemas.upstream import Call
from tests.support import raw_upstream as raw
from tests.support.chat_calls import call_of
from tests.support.fakes.sink import FakeSink

KEY = "sk-or-v1-0123456789abcdef"
MIB = 1024 * 1024
PINGS: list[bytes | float] = [b": OPENROUTER PROCESSING\n\n", 0.1] * 30


CUT = raw.event(raw.chunk("one"))
both = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])


def call(deadline_s: float = 5.0, **body: object) -> Call:
    body = {"messages": [{"role": "user", "content": "hi"}], **body}
    return call_of("vendor/model-a", body, "0190-own", time.monotonic() + deadline_s, {"x-simulate": "html"})


async def read(
    model: HttpChatModel, sink: FakeSink | None = None, *, deadline_s: float = 5.0, **body: object
) -> list[bytes]:
    sink = sink or FakeSink()
    async with model.stream(call(deadline_s, stream=True, **body)) as answer:
        await answer.pour(sink)
    return sink.frames


async def failure(model: HttpChatModel, *, streaming: bool, deadline_s: float = 5.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await (read(model, deadline_s=deadline_s) if streaming else model.complete(call(deadline_s)))
    return caught.value


def error(message: str, code: object = 400, **more: object) -> dict[str, object]:
    return {"error": {"message": message, "code": code, **more}}
