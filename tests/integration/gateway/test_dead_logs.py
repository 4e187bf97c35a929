"""A log that cannot be written costs its lines, which are counted, and nothing else: real processes, dead readers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway_process import BODY, Gateway

CHATS = 60


class Fifo:
    """A named pipe whose reading end the test holds."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.reading, fcntl.F_SETPIPE_SZ, 4096)

    def close(self) -> None:
        """Be gone."""
        with suppress(OSError):
            os.close(self.reading)

    def read(self) -> bytes:
        """Return what is there."""
        with suppress(BlockingIOError):
            return os.read(self.reading, 65_536)
        return b""


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    """The pipe that standard error of the gateway goes to."""
    pipe = Fifo(tmp_path / "stderr")
    yield pipe
    pipe.close()


def gateway_with(folder: Path, upstream: str, redirection: str, **settings: str) -> Gateway:
    """Return a gateway whose standard error goes elsewhere."""
    gateway = Gateway(folder, upstream, **settings)
    gateway.server.command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *gateway.server.command]
    return gateway


async def chat(client: aiohttp.ClientSession, number: int, *, stream: bool) -> bool:
    """Return whether a chat request was answered in full."""
    headers = {"X-Request-ID": f"dead-log-{number}"}
    async with client.post("/v1/chat/completions", json={**BODY, "stream": stream}, headers=headers) as response:
        text = await response.text()
        return response.status == 200 and ("data: [DONE]" in text if stream else '"choices"' in text)


async def lines_dropped(client: aiohttp.ClientSession) -> int:
    """Return the metric."""
    async with client.get("/metrics") as response:
        found = re.search(r"^llm_router_log_lines_dropped_total (\S+)$", await response.text(), re.MULTILINE)
        assert found is not None
        return int(float(found[1]))


async def answers(client: aiohttp.ClientSession) -> int:
    """Return how many of CHATS were answered; /health and /metrics have to answer in between."""
    answered = 0
    for number in range(CHATS):
        answered += await chat(client, number, stream=number % 3 == 0)
        if number % 20 == 0:
            async with client.get("/health") as response:
                assert response.status == 200
            await lines_dropped(client)
    return answered


async def stopped(gateway: Gateway) -> int:
    """Return the exit code after SIGTERM; it has to come soon."""
    process = gateway.server.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(asyncio.to_thread(process.wait), 15)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2>&- 1>&- 0<&-"])
async def test_a_closed_or_full_log_costs_its_lines_only(redirection: str, tmp_path: Path, upstream: str) -> None:
    """Standard error closed, on a full disk, or all three streams closed: everything is answered, lines are counted."""
    gateway = gateway_with(tmp_path, upstream, redirection)
    try:
        await gateway.start()
        async with aiohttp.ClientSession(gateway.url) as client:
            assert await answers(client) == CHATS
            await asyncio.sleep(0.2)
            assert await lines_dropped(client) >= CHATS
        assert await stopped(gateway) == 0
    finally:
        await asyncio.to_thread(gateway.server.kill)


async def test_a_reader_that_goes_costs_lines_only(tmp_path: Path, upstream: str, fifo: Fifo) -> None:
    """The log collector dies while the gateway runs."""
    gateway = gateway_with(tmp_path, upstream, f"2>{fifo.path}")
    try:
        await gateway.start()
        fifo.close()
        async with aiohttp.ClientSession(gateway.url) as client:
            assert await answers(client) == CHATS
            await asyncio.sleep(0.2)
            assert await lines_dropped(client) >= CHATS
        assert await stopped(gateway) == 0
    finally:
        await asyncio.to_thread(gateway.server.kill)


async def test_a_reader_that_stalls_delays_lines_only(tmp_path: Path, upstream: str, fifo: Fifo) -> None:
    """The collector stops: requests go on. It goes on: each line is there, in order. It stops again: we can end."""
    gateway = gateway_with(tmp_path, upstream, f"2>{fifo.path}")
    try:
        await gateway.start()
        async with aiohttp.ClientSession(gateway.url) as client:
            assert await answers(client) == CHATS
            assert await lines_dropped(client) == 0, "they wait in the queue"
            read = b""
            for _ in range(100):
                read += fifo.read()
                await asyncio.sleep(0.02)
            public = re.findall(rb'"public_id":"dead-log-(\d+)"', read)
            assert list(map(int, public)) == list(range(CHATS))
            assert await answers(client) == CHATS
        assert await stopped(gateway) == 0
    finally:
        await asyncio.to_thread(gateway.server.kill)


async def test_an_error_at_the_start_is_still_said(tmp_path: Path, upstream: str) -> None:
    """Queued lines do not hide why a process ends."""
    gateway = Gateway(tmp_path, upstream, FEEDBACK_WEIGHT="much")
    gateway.server.start()
    process = gateway.server.process
    assert process is not None
    assert await asyncio.to_thread(process.wait, 20) == 2
    assert "FEEDBACK_WEIGHT" in gateway.log.read_text()
