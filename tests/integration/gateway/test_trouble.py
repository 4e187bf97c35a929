"""Dependencies in trouble: parts that are stopped for a while, and a Redis that returns errors."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import aiohttp
import pytest

from tests.integration.gateway.link import Link
from tests.support.gateway_process import BODY, eventually

TROUBLE = (
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "OOM command not allowed when used memory > 'maxmemory'.",
)


@pytest.mark.parametrize("says", TROUBLE, ids=lambda says: says.split()[0])
async def test_a_redis_in_trouble_is_a_redis_away(gateways: Any, redis_url: str, says: str) -> None:
    """Chat answers, visibly degraded, ratings are told to come again, and everything is stored once it is well (11)."""
    link = Link(redis_url)
    async with link.url() as shaky:
        gateway = await gateways(REDIS_URL=shaky)
        async with aiohttp.ClientSession(gateway.url) as client:
            link.cut(says)
            for number in range(3):
                sent = {"X-Request-ID": f"r-{number}"}
                async with client.post("/v1/chat/completions", json=BODY, headers=sent) as response:
                    assert response.status == 200
                    assert "redis" in response.headers["x-router-degraded"]
            rating = {"request_id": "r-0", "score": 1}
            async with client.post("/feedback", json=rating) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (503, "feedback_unavailable")
            async with client.get("/ready") as response:
                assert response.status == 200
            link.mend()
            assert len(await eventually(redis_url, 3)) == 3
            async with client.post("/feedback", json=rating) as response:
                assert response.status == 202


async def test_a_gateway_that_was_stopped_goes_on_where_it_was(gateways: Any, redis_url: str) -> None:
    """SIGSTOP for longer than every deadline: the open answer ends whole, the next is fine, nothing is lost (3)."""
    gateway = await gateways(REDIS_URL=redis_url)
    slow = {"x-simulate": "slow-first-token;seconds=1"}
    async with aiohttp.ClientSession(gateway.url) as client:
        opening = client.post("/v1/chat/completions", json=BODY | {"stream": True}, headers=slow)
        asking = asyncio.create_task(opening.__aenter__())
        await asyncio.sleep(0.4)
        gateway.server.signal(signal.SIGSTOP)
        waiting = asyncio.create_task(client.get("/ready").__aenter__())
        await asyncio.sleep(3.0)
        assert not waiting.done()
        gateway.server.signal(signal.SIGCONT)
        assert (await (await asking).text()).endswith("data: [DONE]\n\n")
        assert (await waiting).status == 200
        async with client.post("/v1/chat/completions", json=BODY) as response:
            assert response.status == 200
    assert [record["outcome"]["status"] for record in await eventually(redis_url, 2)] == ["answered"] * 2
