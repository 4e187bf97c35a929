"""Gateway and learner through a Redis failover behind one address, and through a peer that vanishes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis

from benchmarks.soaking.forwarder import forwarding
from deploy.local.servers import Server
from shared.storage import redis_keys
from shared.storage.redis_pool import FRESH_S
from tests.support.gateway_process import BODY
from tests.support.learner_rig import NOWHERE, until
from tests.support.redis_pair import fail_over, two_servers

WITHIN_S = 6.0


async def chat(client: aiohttp.ClientSession, name: str) -> None:
    async with client.post("/v1/chat/completions", json=BODY, headers={"X-Request-ID": name}) as answer:
        assert answer.status == 200


async def rate(client: aiohttp.ClientSession, name: str) -> int:
    async with client.post("/v1/feedback", json={"request_id": name, "score": 1}) as answer:
        return answer.status


async def redis_part(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/health") as answer:
        part: dict[str, Any] = (await answer.json())["parts"]["redis"]
        return part


@pytest.fixture
def learners(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """A starter of learner processes; they are killed at the end."""
    started: list[Server] = []
    away = {"EMBEDDER_URL": NOWHERE, "QDRANT_URL": NOWHERE, "LEARNER_PORT": "0", "LOG_FORMAT": "json"}

    def start(**settings: str) -> None:
        command = [sys.executable, "-m", "services.learner"]
        learner = Server("learner", command, tmp_path / "learner.log", {**away, **settings})
        learner.start()
        started.append(learner)

    yield start
    for learner in started:
        learner.kill()


async def test_gateway_and_learner_follow_a_failover(gateways: Any, learners: Any, tmp_path: Path) -> None:
    """While no server takes writes, records wait on disk and /health says READONLY; then all of them are learned."""
    async with two_servers(tmp_path) as (first, second, forwarder):
        url = f"redis://127.0.0.1:{forwarder.port}/0"
        gateway = await gateways(REDIS_URL=url)
        learners(REDIS_URL=url)
        async with aiohttp.ClientSession(gateway.url) as client:
            for number in range(5):
                await chat(client, f"before{number}")
                assert await rate(client, f"before{number}") == 202
            await until(lambda: _learned(second, 5))  # replicated, too
            await first.replicaof("127.0.0.1", "1")
            for number in range(5):
                await chat(client, f"between{number}")
            part = await redis_part(client)
            assert part["status"] == "down"
            assert part["detail"].startswith("READONLY")
            await fail_over(first, second, forwarder)
            began = time.monotonic()
            while await rate(client, "between0") != 202:
                assert time.monotonic() - began < WITHIN_S
                await asyncio.sleep(0.1)
            await chat(client, "after")
            assert await rate(client, "after") == 202
            await until(lambda: _learned(second, 11), WITHIN_S)
            await until(lambda: _healthy(client), 3.0)
            assert await second.xlen(redis_keys.EVENTS) == 0


async def test_a_redis_that_vanished_without_closing_is_dialled_anew(gateways: Any, tmp_path: Path) -> None:
    """Established connections say nothing more: ratings are taken again within seconds, and no record is lost."""
    async with two_servers(tmp_path) as (first, _, _), forwarding(_port(first)) as forwarder:
        gateway = await gateways(REDIS_URL=f"redis://127.0.0.1:{forwarder.port}/0")
        async with aiohttp.ClientSession(gateway.url) as client:
            await asyncio.gather(*(chat(client, f"a{number}") for number in range(20)))
            assert set(await asyncio.gather(*(rate(client, f"a{number}") for number in range(20)))) == {202}
            await asyncio.sleep(FRESH_S + 0.1)
            forwarder.freeze()
            began = time.monotonic()
            await chat(client, "b0")
            while await rate(client, "b0") != 202:
                assert time.monotonic() - began < WITHIN_S
                await asyncio.sleep(0.1)
            assert set(await asyncio.gather(*(rate(client, f"a{number}") for number in range(20)))) == {202}
            keys = [key async for key in first.scan_iter(match=redis_keys.request("*"))]
            assert len(keys) == 21


async def _healthy(client: aiohttp.ClientSession) -> bool:
    return bool((await redis_part(client))["status"] == "ok")


async def _learned(server: Any, requests: int) -> bool:
    found = 0
    async for key in server.scan_iter(match=redis_keys.sums("*", "*")):
        found += int(await server.hget(key, "requests") or 0)
    return found >= requests


def _port(server: aioredis.Redis) -> int:
    port: int = server.connection_pool.connection_kwargs["port"]
    return port
