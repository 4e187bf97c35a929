"""The official OpenAI client on a gateway whose upstream streams in unusual forms."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from services.gateway.chat import streaming
from shared.clients.chat_client import HttpChatModel, connections
from shared.schemas.records import Status
from tests.integration.chat_client.test_packed import packed_stream
from tests.integration.chat_client.test_stream_forms import FORMS
from tests.support import raw_upstream as raw
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import serving

ASKED: Any = [{"role": "user", "content": "Say hello"}]
TEXT = "".join(raw.WORDS)
GOOD = raw.good_events()[1:]
STOP = raw.event(raw.chunk(None, "stop"))
CALLS = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@dataclass
class Site:
    """A client of a gateway whose upstream plays a script."""

    sdk: openai.AsyncOpenAI
    upstream: raw.RawUpstream
    world: World

    async def read(self, script: raw.Script, **more: Any) -> list[Any]:
        """Return the chunks that the client reads."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listing = self.upstream.seen[-1].line.startswith("GET ")
            await (raw.whole(b"{}") if listing else script)(reader, writer)

        self.upstream.script = play
        stream = await self.sdk.chat.completions.create(model="a/small", messages=ASKED, stream=True, **more)
        return [chunk async for chunk in stream]


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.3)
    monkeypatch.setattr(streaming, "EARLY_S", 0.1)
    world = World(settings_for(tmp_path / "spool"))
    async with raw.raw_upstream() as upstream, connections(upstream.url) as http:
        world.upstream = HttpChatModel(  # type: ignore[assignment]  # the fake's place
            http, "a-key", first_byte_timeout_s=2, gap_timeout_s=2
        )
        upstream.script = raw.whole({"data": [{"id": "a/small"}]})
        async with serving(world):
            url = f"http://127.0.0.1:{world.settings.PORT}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as sdk:
                yield Site(sdk, upstream, world)


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices or [])


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_reads_the_same(site: Site, form: str) -> None:
    """Text, end and record are those of an ordinary stream."""
    chunks = await site.read(raw.streamed(FORMS[form]), stream_options={"include_usage": True})
    assert text_of(chunks) == TEXT
    assert chunks[-1].usage.prompt_tokens == 12
    assert site.world.records[-1].outcome.status is Status.ANSWERED


@pytest.mark.parametrize(
    "parts",
    [
        [0.8, *GOOD],
        [*[b": PROCESSING\n\n", 0.1] * 6, *GOOD],
        [GOOD[0], 0.8, *GOOD[1:]],
        [*GOOD[:2], b"event: ping\ndata: ping\n\n", b"data: [1]\n\n", *GOOD[2:]],
        [*GOOD[:-1], b"data: [DONE]"],
        [*GOOD[:3], STOP[:-2]],
        [*(raw.event(raw.chunk(word, "")) for word in raw.WORDS)],
    ],
    ids=["silent", "comments", "silent between", "pings", "no blank line", "no done", "empty reason"],
)
async def test_signs_of_life_and_unreadable_events_do_not_show(site: Site, parts: list[bytes | float]) -> None:
    """Comments are ignored, and an end is an end."""
    assert text_of(await site.read(raw.streamed(parts))) == TEXT


async def test_tool_calls_come_after_long_silence(site: Site) -> None:
    """As models do that think before they call."""
    call = raw.event(raw.chunk() | {"choices": [{"index": 0, "delta": {"tool_calls": CALLS}, "finish_reason": None}]})
    chunks = await site.read(raw.streamed([GOOD[0], 0.8, call, raw.event(raw.chunk(None, "tool_calls"))]))
    assert [c.id for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []] == ["call_1"]


async def test_a_packed_stream_reads_the_same(site: Site) -> None:
    """The client gets it unpacked."""
    assert text_of(await site.read(packed_stream(gzip.compress(b"".join(GOOD)), "gzip", 50))) == TEXT


async def test_half_characters_are_read(site: Site) -> None:
    """Python's client keeps the halves apart, as it does with OpenAI itself."""
    halves = [raw.event(raw.chunk("@")).replace(b"@", half) for half in (b"\\ud83d", b"\\ude00")]
    assert text_of(await site.read(raw.streamed([*halves, *GOOD[3:]]))) == "\ud83d\ude00"


async def test_a_failure_after_headers_raises(site: Site) -> None:
    """No truncated answer looks complete, however it ends."""
    pings: list[bytes | float] = [b": PROCESSING\n\n", 0.1]
    failures: list[list[bytes | float]] = [[0.5], [GOOD[0]], pings * 4]
    for parts in failures:
        with pytest.raises(openai.APIError):
            await site.read(raw.streamed(parts, end="cut"))


async def test_a_whole_answer_with_odd_fields_is_read(site: Site) -> None:
    """Fields of wrong types cost themselves."""
    body = {**raw.WHOLE, "usage": "much", "system_fingerprint": 7}
    packed = gzip.compress(json.dumps(body).encode())

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await raw.whole(packed, content_encoding="gzip")(reader, writer)

    site.upstream.script = play
    answer = await site.sdk.chat.completions.create(model="a/small", messages=ASKED)
    assert answer.choices[0].message.content == TEXT
