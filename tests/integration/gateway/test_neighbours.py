"""Gossip of two gateway processes on one Redis: open circuits and late records of one are known to the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from services.gateway.process.gossip import SILENT_S
from shared.storage import redis_keys
from tests.integration.gateway.link import Link
from tests.support.gateway_process import BODY, MODELS


async def told(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/health") as response:
        return dict(await response.json())


async def test_a_circuit_that_one_opens_is_seen_by_the_other(gateways: Any, redis_url: str) -> None:
    """Within a few seconds, in /health, with the name of the gateway that found out; /ready is not affected."""
    one, other = [await gateways(REDIS_URL=redis_url) for _ in range(2)]
    arm = MODELS[0]
    failing = {"x-simulate": f"status-500;model={arm}"}
    async with aiohttp.ClientSession(one.url) as here, aiohttp.ClientSession(other.url) as there:
        for _ in range(5):
            async with here.post("/v1/chat/completions", json=BODY | {"model": arm}, headers=failing) as response:
                assert response.status == 502
        finder = None
        until = time.monotonic() + 10
        while time.monotonic() < until and not finder:
            await asyncio.sleep(0.2)
            report = await told(there)
            finder = report["arms"][arm]["found_by"]
        own = await told(here)
        assert finder == [next(iter(own["gateways"]))]
        assert set(own["gateways"]) == set(report["gateways"])
        assert report["arms"][arm]["circuit"] in ("open", "half_open")
        assert report["arms"][MODELS[1]]["circuit"] == "closed"
        async with there.get("/ready") as response:
            assert response.status == 200


async def test_a_rating_finds_its_request_wherever_it_comes_in(gateways: Any, redis_url: str) -> None:
    """One gateway alone loses Redis and answers on: the other denies none of its ratings, and takes each once."""
    link = Link(redis_url)
    async with link.url() as shaky, aioredis.Redis.from_url(redis_url) as redis:
        one, other = await gateways(REDIS_URL=shaky), await gateways(REDIS_URL=redis_url)
        async with aiohttp.ClientSession(one.url) as here, aiohttp.ClientSession(other.url) as there:
            await asyncio.sleep(1.5)
            link.cut()
            for number in range(3):
                sent = {"X-Request-ID": f"r-{number}"}
                async with here.post("/v1/chat/completions", json=BODY, headers=sent) as response:
                    assert response.status == 200
            early = await asyncio.gather(*(rated(there, f"r-{number}") for number in range(3)))
            assert early == [503] * 3
            link.mend()
            for number in range(3):
                for _ in range(30):
                    status = await rated(there, f"r-{number}")
                    if status == 202:
                        break
                    assert status == 503
                    await asyncio.sleep(0.5)
                assert status == 202
        assert [revision async for revision in revisions(redis)] == [1, 1, 1]


async def rated(client: aiohttp.ClientSession, request_id: str) -> int:
    async with client.post("/feedback", json={"request_id": request_id, "score": 0.5}) as response:
        assert response.status != 503 or response.headers["Retry-After"]
        return response.status


async def revisions(redis: Any) -> AsyncIterator[int]:
    """Yield the revision of each request's rating."""
    async for key in redis.scan_iter(match=redis_keys.request("*")):
        yield int(await redis.hget(key, "revision"))


async def test_a_gateway_that_stopped_in_peace_is_not_waited_for(gateways: Any, redis_url: str) -> None:
    """After SIGTERM an unknown id is 404 at once with those that stay; one that was killed is waited for."""
    one, killed, stays = [await gateways(REDIS_URL=redis_url) for _ in range(3)]
    async with aiohttp.ClientSession(stays.url) as client:
        await asyncio.sleep(1.5)
        assert len((await told(client))["gateways"]) == 3
        assert await asyncio.to_thread(one.server.stop, 30.0) == 0
        rating = {"request_id": "never", "score": 0.5}
        async with client.post("/feedback", json=rating) as response:
            assert response.status == 404
        await asyncio.to_thread(killed.server.kill)
        await asyncio.sleep(SILENT_S + 1)
        async with client.post("/feedback", json=rating) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (503, "feedback_unavailable")
