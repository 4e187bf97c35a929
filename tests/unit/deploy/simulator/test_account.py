"""The simulated account without credit refuses what OpenRouter refuses, in its words."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.simulator.account import MODELS, NewAccount
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.models import InventedWorld

Client = TestClient[Any, Any]
NOON = 1_800_014_400.0
FREE, OTHER = "deepseek/deepseek-v4:free", "openai/gpt-oss-20b:free"


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(clock: Clock) -> AsyncIterator[Client]:
    simulator = Simulator(InventedWorld(MODELS), Pace(speed=1000), random.Random(0), NewAccount(clock))
    async with TestClient(TestServer(simulator.application())) as client:
        yield client


async def ask(client: Client, model: str = FREE) -> tuple[int, Any, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with client.post("/api/v1/chat/completions", json=body) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_twenty_a_minute_then_fifty_a_day(client: Client, clock: Clock) -> None:
    """All free models count together; a refusal names the limit and its reset, and counts for nothing."""
    for number in range(50):
        if number % 20 == 0 and number:
            status, body, headers = await ask(client, OTHER)
            assert status == 429
            assert body["error"]["message"].startswith("Rate limit exceeded: free-models-per-min")
            assert headers["X-RateLimit-Limit"] == "20"
            assert 0 < int(headers["X-RateLimit-Reset"]) / 1000 - clock.now <= 60
            clock.now += 60
        assert (await ask(client))[0] == 200
    status, body, headers = await ask(client, OTHER)
    assert status == body["error"]["code"] == 429
    assert "free-models-per-day" in body["error"]["message"]
    assert body["error"]["metadata"]["headers"]["X-RateLimit-Limit"] == headers["X-RateLimit-Limit"] == "50"
    assert headers["X-RateLimit-Remaining"] == "0"
    clock.now = int(headers["X-RateLimit-Reset"]) / 1000
    assert clock.now % 86_400 == 0
    assert (await ask(client))[0] == 200


@pytest.mark.parametrize("model", ["openai/gpt-5", "openrouter/auto", "switchpoint/router"])
async def test_what_costs_money_is_402(client: Client, model: str) -> None:
    """Whatever has a price, and what may choose something with a price."""
    status, body, _ = await ask(client, model)
    assert status == body["error"]["code"] == 402
    assert "Insufficient credits" in body["error"]["message"]


async def test_the_list_is_openrouters(client: Client) -> None:
    """Free models, paid ones, and a router at price -1, newest first."""
    listed = (await (await client.get("/api/v1/models")).json())["data"]
    entries = {entry["id"]: entry for entry in listed}
    assert entries["openrouter/auto"]["pricing"]["prompt"] == "-1"
    assert entries[FREE]["pricing"]["prompt"] == "0"
    assert entries["google/lyria-3:free"]["architecture"]["output_modalities"] == ["text", "audio"]
    assert [entry["created"] for entry in listed] == sorted((entry["created"] for entry in listed), reverse=True)
