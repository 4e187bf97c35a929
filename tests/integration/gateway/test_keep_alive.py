"""Keep-alive comments of streams from a slow upstream, by the fast path and by aiohttp; waits are scaled down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from deploy.local.servers import free_port
from services.gateway.app import build_app
from services.gateway.chat import streaming
from services.gateway.http.server import serve
from shared.bandit.decision import DecisionKind
from shared.clients.chat_client import HttpChatModel, connections
from shared.schemas.records import Outcome, Status
from tests.support import raw_upstream as raw
from tests.support.batching import until
from tests.support.fakes.gateway import World, settings_for

KEEP_ALIVE_S = 0.6
EARLY_S = 0.2
SLACK_S = 0.35
"""A loaded machine is late by this much at most."""

PING = b": PROCESSING\n\n"
PINGS: list[bytes | float] = [PING, 0.1] * 4
PINGS_SLOW: list[bytes | float] = [PING, 0.15] * 8
GOOD = raw.good_events()[1:]
LISTED = {"data": [{"id": arm} for arm in ("a/small", "b/middle", "c/large", "d/spare")]}


@dataclass
class Heard:
    """An answer, and when its pieces came."""

    headers: dict[str, str]
    head_s: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def text(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def comments(self) -> list[bytes]:
        return [line for line in self.text.split(b"\n\n") if line.startswith(b":")]

    @property
    def error(self) -> Any:
        """The error event that ends a broken stream."""
        assert b"[DONE]" not in self.text
        return json.loads(self.text.strip().split(b"\n\n")[-1].removeprefix(b"data: "))["error"]

    def silences(self) -> list[float]:
        """Return the pauses in which the client saw nothing."""
        at = [0.0, self.head_s, *(when for when, _ in self.pieces)]
        return [later - earlier for earlier, later in pairwise(at)]


@dataclass
class Site:
    """A gateway before an upstream whose next answers a test scripts, one after the other."""

    world: World
    upstream: raw.RawUpstream
    way: str
    scripts: list[raw.Script]

    async def ask(self, *scripts: raw.Script, model: str | None = "a/small") -> Heard:
        """Ask for a stream while the upstream plays the scripts."""
        self.scripts[:] = scripts
        started = time.monotonic()
        async with self.asked(model) as (reader, headers):
            heard = Heard(headers, time.monotonic() - started)
            while size := int(await reader.readline(), 16):
                heard.pieces.append((time.monotonic() - started, (await reader.readexactly(size + 2))[:-2]))
        return heard

    @asynccontextmanager
    async def asked(self, model: str | None) -> AsyncIterator[tuple[asyncio.StreamReader, dict[str, str]]]:
        """Ask on a new connection; yield it once its head is read."""
        reader, writer = await self.send(model)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            status, *rows = head.decode().strip().split("\r\n")
            assert " 200 " in status
            yield reader, {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
        finally:
            writer.close()

    async def send(self, model: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask, and wait for nothing."""
        asked = {"stream": True, "messages": [{"role": "user", "content": "x"}]} | ({"model": model} if model else {})
        body = orjson.dumps(asked)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.world.settings.PORT))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{self.way}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return reader, writer

    async def metric(self, name: str) -> float:
        """Return what `/metrics` says."""
        url = f"http://127.0.0.1:{self.world.settings.PORT}/metrics"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"llm_router_{name}"))

    @property
    def outcome(self) -> Outcome:
        """The outcome of the one record."""
        (record,) = self.world.records
        return record.outcome

    @property
    def chats(self) -> list[str]:
        """The models that were asked."""
        return [seen.json["model"] for seen in self.upstream.seen if seen.line.startswith("POST ")]


@pytest.fixture(params=["", "Connection: close\r\n"], ids=["fast path", "aiohttp"])
async def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", KEEP_ALIVE_S)
    monkeypatch.setattr(streaming, "EARLY_S", EARLY_S)
    monkeypatch.setattr(streaming, "COMMENT_GAP_S", 0.05)
    world, scripts = World(settings_for(tmp_path / "spool", PORT=free_port())), list[raw.Script]()
    async with raw.raw_upstream() as upstream, connections(upstream.url) as http:

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listing = upstream.seen[-1].line.startswith("GET ")
            script = raw.whole(LISTED) if listing else scripts.pop(0) if len(scripts) > 1 else scripts[0]
            await script(reader, writer)

        upstream.script = play
        world.upstream = HttpChatModel(  # type: ignore[assignment]  # the fake's place
            http, "a-key", first_byte_timeout_s=2.5, gap_timeout_s=2.5
        )
        runner = await serve(build_app(world.settings, world.adapters, world.file), world.settings)
        try:
            yield Site(world, upstream, request.param, scripts)
        finally:
            await runner.cleanup()


def after(seconds: float, script: raw.Script) -> raw.Script:
    """Play a script after a while of silence, before its head."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await script(reader, writer)

    return late


async def test_a_quick_stream_has_no_comments(site: Site) -> None:
    """Nothing is added to what comes in time, be it after comments."""
    heard = await site.ask(raw.streamed([PING, *GOOD]))
    assert heard.text == b"".join(GOOD[:-2] + GOOD[-1:])
    assert site.outcome.status is Status.ANSWERED


async def test_a_silent_upstream_is_bridged(site: Site) -> None:
    """Headers and a comment after 10 s (here 0.6), and a comment after each 10 s of silence until the answer comes."""
    heard = await site.ask(raw.streamed([2.0, *GOOD]))
    assert KEEP_ALIVE_S - 0.05 < heard.head_s < KEEP_ALIVE_S + SLACK_S
    assert heard.comments == [b": keep-alive"] * 3
    assert max(heard.silences()) < KEEP_ALIVE_S + SLACK_S
    assert heard.text.endswith(b"data: [DONE]\n\n")
    assert heard.headers["x-router-model"] == "a/small"
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert (site.outcome.status, len(site.outcome.attempts)) == (Status.ANSWERED, 1)


async def test_silence_between_events_is_bridged(site: Site) -> None:
    """The same comment."""
    heard = await site.ask(raw.streamed([GOOD[0], 1.5, *GOOD[1:]]))
    assert heard.comments == [b": keep-alive"] * 2
    assert max(heard.silences()) < KEEP_ALIVE_S + SLACK_S
    assert heard.text.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("first", [[], GOOD[:1]], ids=["before the first event", "between events"])
async def test_comments_of_the_upstream_are_passed_on(site: Site, first: list[bytes]) -> None:
    """Before the first event from a second (here 0.2 s) after the first of them."""
    heard = await site.ask(raw.streamed([*first, *PINGS_SLOW, *GOOD[len(first) :]]))
    assert heard.comments.count(b": PROCESSING") >= 3
    assert max(heard.silences()) < EARLY_S + SLACK_S
    assert heard.text.endswith(b"data: [DONE]\n\n")
    assert site.outcome.status is Status.ANSWERED


@pytest.mark.parametrize("end", ["cut", "hang"])
async def test_after_a_comment_a_silent_model_is_not_replaced(site: Site, end: str) -> None:
    """A failure is an error event then, and the record says that there was no answer."""
    heard = await site.ask(raw.streamed([KEEP_ALIVE_S + 0.3], end=end), raw.streamed(GOOD), model=None)
    assert heard.comments[0] == b": keep-alive"
    assert heard.error["code"] == ("upstream_error" if end == "cut" else "upstream_timeout")
    assert heard.error["type"] == "upstream_error"
    assert len(site.chats) == 1
    assert site.outcome.status is Status.FAILED
    assert [attempt.spent for attempt in site.outcome.attempts] == [True]


async def test_before_any_comment_another_model_is_called(site: Site) -> None:
    """An upstream that accepts and breaks off within 10 s (here 0.6) costs the client nothing but time."""
    heard = await site.ask(raw.streamed([0.3], end="cut"), raw.streamed(GOOD), model=None)
    first, second = site.chats
    assert heard.headers["x-router-model"] == second != first
    assert not heard.comments
    assert heard.text.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("failure", ["cut", "error"])
async def test_comments_bind_to_no_model(site: Site, failure: str) -> None:
    """Nothing of an answer has been sent: the next one is asked, and a comment names it."""
    error = [raw.event({"error": {"message": "overloaded", "code": 502}})] if failure == "error" else []
    heard = await site.ask(raw.streamed([*PINGS, *error], end="cut"), raw.streamed(GOOD), model=None)
    first, second = site.chats
    assert first != second
    assert heard.headers["x-router-model"] == first
    assert heard.comments[0] == b": keep-alive"
    assert heard.comments[-1] == f": model {second}".encode()
    assert heard.text.endswith(b"data: [DONE]\n\n")
    (record,) = site.world.records
    assert (record.outcome.arm, record.decision.kind) == (second, DecisionKind.FALLBACK)
    assert record.outcome.status is Status.ANSWERED


async def test_a_model_that_answers_at_the_second_try_is_not_named_again(site: Site) -> None:
    """The headers have named it."""
    heard = await site.ask(raw.streamed(PINGS, end="cut"), raw.streamed(GOOD))
    assert site.chats == ["a/small"] * 2
    assert not [comment for comment in heard.comments if b"model" in comment]
    assert heard.text.endswith(b"data: [DONE]\n\n")


async def test_the_client_gets_comments_while_the_next_model_is_called(site: Site) -> None:
    """Once its headers are out."""
    heard = await site.ask(raw.streamed(PINGS, end="cut"), after(1.5, raw.streamed(GOOD)), model=None)
    assert heard.comments.count(b": keep-alive") >= 3
    assert max(heard.silences()) < KEEP_ALIVE_S + SLACK_S
    assert heard.text.endswith(b"data: [DONE]\n\n")


async def test_when_all_fail_after_comments_the_client_gets_the_reason(site: Site) -> None:
    """What would have been the answer's body is the error event."""
    refusal = raw.whole({"error": {"message": "temperature is too hot", "code": 400}}, "400 Bad Request")
    heard = await site.ask(raw.streamed(PINGS, end="cut"), refusal)
    assert "too hot" in heard.error["message"]
    assert heard.error["type"] == "invalid_request_error"
    assert site.outcome.status is Status.FAILED


async def test_a_cut_after_the_first_event_stays_a_cut(site: Site) -> None:
    """The record says so, whatever comments came before."""
    heard = await site.ask(raw.streamed([*PINGS, GOOD[0]], end="cut"), raw.streamed(GOOD), model=None)
    assert heard.error["code"] == "upstream_cut"
    assert len(site.chats) == 1
    assert site.outcome.status is Status.TRUNCATED


@pytest.mark.parametrize(
    ("parts", "leave_s"), [([5.0], 0.3), ([5.0], 1.0), ([*PINGS, 5.0], 0.9), ([GOOD[0], 5.0], 1.0)],
    ids=["before the headers", "after a comment", "among comments", "between events"],
)  # fmt: skip
async def test_a_client_that_leaves_in_the_silence_is_noticed(
    site: Site, parts: list[bytes | float], leave_s: float
) -> None:
    """Its upstream call is closed, its record says cancelled, once, and its place is free again."""
    site.scripts[:] = [raw.streamed(parts)]
    _, writer = await site.send("a/small")
    await asyncio.sleep(leave_s)
    assert await site.metric("in_flight_requests ") == 1
    writer.close()
    await until(lambda: bool(site.world.records))
    await asyncio.sleep(0.1)
    assert await site.metric("in_flight_requests ") == 0
    assert site.outcome.status is Status.CANCELLED
    assert len(site.outcome.attempts) == 1
    assert await site.metric('outcomes_total{status="cancelled"}') == 1
    assert len(site.chats) == 1


async def test_dropped_events_are_counted(site: Site) -> None:
    """By why they could not be read."""
    await site.ask(raw.streamed([b"event: ping\ndata: ping\n\n", *GOOD[:1], b"data: 3\n\n", *GOOD[1:]]))
    for reason in ("not_json", "not_object"):
        assert await site.metric(f'unread_events_total{{reason="{reason}"}}') == 1
