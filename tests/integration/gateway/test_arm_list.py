"""Models added and removed over HTTP, and by two gateway processes on one real Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from tests.support.fakes.gateway import World, settings_for
from tests.support.gateway_process import BODY, MODELS, Gateway
from tests.support.served_gateway import ask, serving

NEW = "google/gemini-2.5-flash"
ADMIN, USER = "admin-key-of-many-letters", "user-key-of-many-letters"
SOON_S = 2.0
"""Within this, what was changed through one gateway is so with every other."""


async def change(client: aiohttp.ClientSession, method: str, arm: str, **headers: str) -> tuple[int, Any]:
    async with client.request(method, f"/arms/{arm}", headers=headers) as response:
        return response.status, await response.json()


async def test_the_answers_over_http(tmp_path: Path) -> None:
    """The list that results, its difference from LLM_MODELS in `/arms` and `/health`, and errors in OpenAI's shape."""
    world = World(settings_for(tmp_path))
    async with serving(world) as client:
        assert await change(client, "PUT", "d/spare") == (
            200,
            {"arms": ["a/small", "b/middle", "c/large", "d/spare"], "added": ["d/spare"], "removed": []},
        )
        now = {"arms": ["b/middle", "c/large", "d/spare"], "added": ["d/spare"], "removed": ["a/small"]}
        for _ in range(2):
            assert await change(client, "DELETE", "a%2Fsmall") == (200, now)
        assert (await ask(client, "/health"))[1]["arm_list"] == {**now, "refused": False, "free": None}
        for _ in range(100):
            _, learned, _ = await ask(client, "/arms")
            if [arm["arm"] for arm in learned["data"]] == now["arms"]:
                break
            await asyncio.sleep(0.05)
        assert [arm["arm"] for arm in learned["data"]] == now["arms"]
        assert (learned["added"], learned["removed"]) == (["d/spare"], ["a/small"])
        for method, arm, status, code in (
            ("PUT", "x/unknown", 404, "model_not_found"),
            ("DELETE", "x/unknown", 404, "model_not_found"),
            ("PUT", "a%20b", 400, "invalid_value"),
            ("PUT", "auto", 400, "invalid_value"),
            ("PUT", "x" * 300, 400, "invalid_value"),
        ):
            got, content = await change(client, method, arm)
            assert (got, content["error"]["code"], content["error"]["param"]) == (status, code, "arm")
        for arm in ("b/middle", "c/large"):
            assert (await change(client, "DELETE", arm))[0] == 200
        got, content = await change(client, "DELETE", "d/spare")
        assert (got, content["error"]["code"]) == (409, "last_arm")
        world.memory.away = True
        async with client.put("/arms/a/small") as away:
            assert (away.status, (await away.json())["error"]["code"]) == (503, "dependency_unavailable")
            assert away.headers["Retry-After"]
        world.memory.away = False
        assert (await change(client, "PUT", "d/spare"))[1]["arms"] == ["d/spare"], "nothing half done"


async def answerers(gateway: Gateway, count: int, **body: object) -> Counter[str]:
    """Return the arms that answered as many requests."""
    async with aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {USER}"}) as client:

        async def one() -> str:
            async with client.post("/v1/chat/completions", json={**BODY, **body}) as response:
                return response.headers.get("x-router-model", str(response.status))

        return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def arms_of(gateway: Gateway, wanted: set[str]) -> float:
    """Wait until a gateway weighs just these; return how long that took."""
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {USER}"}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as client:
        while time.monotonic() - started < 5 * SOON_S:
            async with client.post("/route", json=BODY) as response:
                weighed = {view["arm"] for view in (await response.json())["decision"]["arms"]}
            if weighed == wanted:
                return time.monotonic() - started
            await asyncio.sleep(0.05)
    raise AssertionError(f"{weighed} instead of {wanted}")


async def test_two_gateways_have_one_list(gateways: Callable[..., Any], redis_url: str) -> None:
    """Added through one, chosen by the other within seconds; taken out, asked no more; a restart changes nothing."""
    settings = {"REDIS_URL": redis_url, "API_KEYS": USER, "ADMIN_API_KEYS": ADMIN, "EXPLORATION_RATE": "0.5"}
    one, other = await gateways(**settings), await gateways(**settings)
    gone, stays = MODELS
    await arms_of(other, {gone, stays})
    admin = {"Authorization": f"Bearer {ADMIN}"}
    async with aiohttp.ClientSession(one.url) as client:
        assert (await change(client, "PUT", NEW, **admin))[0] == 200
        assert await arms_of(other, {gone, stays, NEW}) < SOON_S
        assert (await answerers(other, 60))[NEW], "a new model is tried like any other of which nothing is known"
        assert (await change(client, "DELETE", gone, **admin))[0] == 200
        assert await arms_of(other, {stays, NEW}) < SOON_S
    assert set(await answerers(other, 60)) == {stays, NEW}
    await asyncio.to_thread(other.server.stop)
    other = await gateways(**settings)
    assert set(await answerers(other, 60)) == {stays, NEW}
    assert await answerers(other, 3, model=gone) == {gone: 3}, "who names it gets it, as any that the upstream lists"
    log = one.log.read_text()
    who = [line for line in one.lines() if line.get("event") in ("arm added", "arm removed")]
    assert [(line["event"], line["arm"]) for line in who] == [("arm added", NEW), ("arm removed", gone)]
    assert {len(line["by"]) for line in who} == {16}
    assert ADMIN not in log


async def test_a_damaged_list_does_no_harm(gateways: Callable[..., Any], redis_url: str) -> None:
    """The last good one serves on, /health says that it was refused, and mending it is enough."""
    gateway = await gateways(REDIS_URL=redis_url)
    async with aiohttp.ClientSession(gateway.url) as client, aioredis.Redis.from_url(redis_url) as redis:
        assert (await change(client, "PUT", NEW))[0] == 200

        async def refused() -> bool:
            async with client.get("/health") as response:
                report = await response.json()
            assert report["arm_list"]["arms"] == [*MODELS, NEW]
            return bool(report["arm_list"]["refused"])

        for damage, expected in (("maybe", True), ("1", False)):
            await redis.hset("{router}:arms", NEW, damage)
            for _ in range(100):
                if await refused() is expected:
                    break
                await asyncio.sleep(0.05)
            assert await refused() is expected
