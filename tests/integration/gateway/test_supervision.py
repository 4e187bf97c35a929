"""A gateway process whose background loops end: they are restarted; if one keeps failing, it ends with code 1."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.gateway_process import BODY, Gateway

BROKEN = """
import asyncio, sys
from services.gateway import __main__ as gateway
from services.gateway.records.record_writer import RecordWriter
from shared.resilience import supervision

FAILURES = {failures}
supervision.LONGEST_REST_S = 0.05
write_for_ever = RecordWriter.write_for_ever
runs = 0

async def breaks(self, pulse):
    global runs
    runs += 1
    if runs <= FAILURES:
        raise ZeroDivisionError("secret sk-abcdefgh")
    await write_for_ever(self, pulse)

RecordWriter.write_for_ever = breaks
sys.exit(gateway.main())
"""


async def health(client: aiohttp.ClientSession) -> Any:
    async with client.get("/health") as response:
        return await response.json()


def broken(folder: Path, upstream: str, failures: int) -> Gateway:
    """Return a gateway whose writer of records ends so often."""
    gateway = Gateway(folder, upstream)
    gateway.server.command = [sys.executable, "-c", BROKEN.format(failures=failures)]
    return gateway


async def test_a_loop_that_ends_is_restarted_and_reported(tmp_path: Path, upstream: str) -> None:
    """Requests are answered and recorded; `/health` and `/metrics` name the loop, its restarts and its error."""
    gateway = broken(tmp_path, upstream, 3)
    try:
        await gateway.start()
        async with aiohttp.ClientSession(gateway.url) as client:
            async with client.post("/v1/chat/completions", json=BODY) as response:
                assert response.status == 200
            async with asyncio.timeout(30):
                while (report := await health(client))["background"]["records"]["restarts"] < 3:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            async with client.get("/metrics") as response:
                metrics = await response.text()
        loop = report["background"]["records"]
        assert (loop["restarts"], loop["error"]) == (3, "ZeroDivisionError")
        assert report["parts"]["background"] == {
            "status": "degraded", "latency_ms": None, "version": None,
            "detail": "records was restarted, 3 times in all (ZeroDivisionError)",
        }  # fmt: skip
        assert report["background"]["posteriors"]["last_step_s_ago"] < 10
        assert 'llm_router_background_restarts_total{loop="records"} 3.0' in metrics
        assert 'llm_router_background_restarts_total{loop="catalogue"} 0.0' in metrics
    finally:
        await asyncio.to_thread(gateway.server.kill)


async def test_a_loop_that_cannot_be_kept_ends_the_process(tmp_path: Path, upstream: str) -> None:
    """After ten failures in a row the process logs which loop failed, shuts down, and exits with code 1."""
    gateway = broken(tmp_path, upstream, 1000)
    try:
        gateway.server.start()
        process = gateway.server.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, 30) == 1
        lines = gateway.lines()
        assert lines[-1]["because"] == "background loop cannot be kept: records (ZeroDivisionError)"
        said = [line for line in lines if line["event"] == "background loop cannot be kept, the process ends"]
        assert [line["level"] for line in said] == ["critical"]
        assert "abcdefgh" not in gateway.log.read_text()
    finally:
        await asyncio.to_thread(gateway.server.kill)
