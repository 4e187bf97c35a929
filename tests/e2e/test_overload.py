"""Overload of the whole stack: what is served keeps its context, the rest is refused, health checks are answered."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import load_settings
from tests.e2e.conftest import MODELS

CONNECTIONS, SECONDS = 1024, 6
"""Each connection sends its next request when it has its answer: many times what the gateway can serve."""

UNHURRIED = {"EMBED_TIMEOUT_MS": "250", "SEARCH_TIMEOUT_MS": "250", "REDIS_TIMEOUT_MS": "5000"}
"""Longer than by default: the machine of the tests does other work, and its stalls are not what is tested."""

ROUNDS = 3
"""Rounds of load, at most: one without a stall is enough. Without a limit every round has too many without context."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """A stack whose upstream takes no time."""
    settings = load_settings(
        {"HOST": "127.0.0.1", "LOG_LEVEL": "warn", "MAX_CONNECTIONS_PER_ADDRESS": "100000", **UNHURRIED}, None
    )
    with Stack(Planner(settings, tmp_path, MODELS, Simulation(speed=1000, failures=0), anywhere=True)) as stack:
        stack.start()
        yield stack.plan.gateway_url


async def counted(session: aiohttp.ClientSession) -> Counter[str]:
    """Return the number of answers by status, and of decisions without context."""
    async with session.get("/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    found = Counter[str]()
    for family in families:
        for sample in family.samples:
            if sample.name == "llm_router_requests_total" and sample.labels["route"] == "/v1/chat/completions":
                found[sample.labels["status"]] += int(sample.value)
            elif sample.name == "llm_router_degraded_decisions_total" and sample.labels["dependency"] != "redis":
                found["without context"] += int(sample.value)
    return found


async def every_request_searches(session: aiohttp.ClientSession) -> None:
    """Rate an answer, and wait until it counts: before there is a rating, few requests search, and are dear."""
    body = {"messages": [{"role": "user", "content": "Name a river."}]}
    async with session.post("/v1/chat/completions", json=body) as answer:
        rating = {"request_id": answer.headers["x-request-id"], "score": 1}
    async with session.post("/feedback", json=rating) as answer:
        assert answer.status == 202
    in_row, deadline = 0, time.monotonic() + 60
    while in_row < 8 and time.monotonic() < deadline:
        async with session.post("/route", json=body) as answer:
            in_row = in_row + 1 if (await answer.json())["decision"]["searched"] else 0
        await asyncio.sleep(0.05)
    assert in_row == 8


async def load(url: str) -> None:
    """Send the load."""
    command = [sys.executable, "-m", "benchmarks.load.client", f"{url}/v1/chat/completions"]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(SECONDS)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    await process.communicate()
    assert process.returncode == 0


async def test_under_overload_answers_keep_their_context_and_the_rest_is_refused_early(gateway: str) -> None:
    """No answer without context but a few, no other error than 503, every health check is answered meanwhile.

    How much is refused depends on how fast the client of the load is; the unit tests of the places have that.
    """
    checks, shares = Counter[int](), list[float]()
    async with aiohttp.ClientSession(gateway, timeout=aiohttp.ClientTimeout(total=30)) as session:
        await every_request_searches(session)
        before = await counted(session)
        while not any(share <= 0.05 for share in shares) and len(shares) < ROUNDS:
            loading = asyncio.create_task(load(gateway))
            while not loading.done():
                for path in ("/health", "/ready"):
                    async with session.get(path) as answer:
                        checks[answer.status] += 1
                await asyncio.sleep(0.2)
            await loading
            found = await counted(session)
            shares.append((found["without context"] - before["without context"]) / (found["200"] - before["200"]))
            before = found
    # 499: the client's connections end while they are served
    assert set(before) <= {"200", "503", "499", "without context"}
    assert min(shares) <= 0.05, shares
    assert set(checks) == {200}
    assert sum(checks.values()) >= 4
