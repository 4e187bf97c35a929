"""Rate limits and budgets over HTTP, with a real Redis: responses to clients, and the spending of a crowd."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from services.gateway.http.auth import digest_of
from tests.support.gateway_process import BODY, MODELS

KEYS = ("first-key", "second-key")
COSTLY = {**BODY, "model": MODELS[0], "max_tokens": 1000}


async def ask(client: aiohttp.ClientSession, key: str, body: object = BODY, **headers: str) -> tuple[int, Any, Any]:
    sent = {"Authorization": f"Bearer {key}", **headers}
    async with client.post("/v1/chat/completions", json=body, headers=sent) as response:
        return response.status, await response.json(), response.headers


async def test_beyond_its_rate_a_key_gets_the_time_to_retry(gateways: Any, redis_url: str) -> None:
    """429 with Retry-After and x-ratelimit-*, the id still free; another key is served (row 50)."""
    gateway = await gateways(REDIS_URL=redis_url, API_KEYS=",".join(KEYS), RATE_LIMIT_RPM="5")
    async with aiohttp.ClientSession(gateway.url) as client:
        answers = [await ask(client, KEYS[0]) for _ in range(5)]
        assert [status for status, _, _ in answers] == [200] * 5
        left = [int(headers["x-ratelimit-remaining-requests"]) for _, _, headers in answers]
        assert left == sorted(left, reverse=True)
        status, refused, headers = await ask(client, KEYS[0], **{"X-Request-ID": "mine"})
        assert (status, refused["error"]["code"]) == (429, "rate_limit_exceeded")
        assert refused["error"]["type"] == "rate_limit_error"
        assert 1 <= int(headers["Retry-After"]) <= 13
        assert headers["x-ratelimit-limit-requests"] == "5"
        assert (await ask(client, KEYS[1], **{"X-Request-ID": "mine"}))[0] == 200
        await asyncio.sleep(int(headers["Retry-After"]))
        assert (await ask(client, KEYS[0], **{"X-Request-ID": "mine"}))[0] == 200


async def test_two_gateways_share_one_budget_and_a_crowd_overshoots_by_what_is_in_flight(
    gateways: Any, redis_url: str
) -> None:
    """A hundred at once against two gateways: no more is spent than the budget and the last reservation (row 51)."""
    prefix = digest_of(KEYS[0])[:8]
    settings = {
        "REDIS_URL": redis_url,
        "API_KEYS": ",".join(KEYS),
        "BUDGET_USD_PER_DAY": "100",
        "KEY_LIMITS": f"{prefix}:usd=0.005",
    }
    both = [await gateways(**settings), await gateways(**settings)]
    async with aiohttp.ClientSession(both[0].url) as one, aiohttp.ClientSession(both[1].url) as other:
        _, _, headers = await ask(one, KEYS[1], COSTLY)
        reservation = 100 - float(headers["x-ratelimit-remaining-usd"])
        assert reservation > 0.001
        answers = await asyncio.gather(
            *(ask(client, KEYS[0], COSTLY) for _ in range(50) for client in (one, other))
        )  # fmt: skip
        served = [headers for status, _, headers in answers if status == 200]
        refused = [(content["error"]["code"], headers) for status, content, headers in answers if status == 429]
        assert len(served) + len(refused) == 100
        assert {code for code, _ in refused} == {"insufficient_quota"}
        assert refused[0][1]["x-should-retry"] == "false"
        spent = sum(float(headers["x-router-cost-usd"]) for headers in served)
        assert 0 < spent <= 0.005 + reservation
        assert (await ask(other, KEYS[1], COSTLY))[0] == 200


async def test_the_public_has_no_limits_unless_they_are_set(gateways: Any, redis_url: str) -> None:
    """Without API_KEYS all callers share one count, and only if a limit is set."""
    gateway = await gateways(REDIS_URL=redis_url)
    async with aiohttp.ClientSession(gateway.url) as client:
        _, _, headers = await ask(client, "unused")
        assert not [name for name in headers if name.lower().startswith("x-ratelimit")]
    gateway = await gateways(REDIS_URL=redis_url, RATE_LIMIT_RPM="2", RATE_LIMIT_TPM="100000")
    async with aiohttp.ClientSession(gateway.url) as client:
        statuses = [(await ask(client, name))[0] for name in ("a", "b", "c")]
        assert statuses == [200, 200, 429]
