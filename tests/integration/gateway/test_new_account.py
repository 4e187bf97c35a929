"""What a new user gets: a fresh key, no credit, default settings, and an upstream that behaves as OpenRouter does then.

The gateway is a process; the upstream is the simulator's new account, on a clock that the test holds.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from deploy.simulator.account import DAY_S, MODELS, NewAccount
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.models import FREE, InventedWorld
from shared.bandit.free_arms import MAX_FREE
from tests.support.gateway_process import BODY

Headers = Any
UNSET = {"LLM_MODELS": "", "DEFAULT_MODEL": ""}
KEY = {"OPENROUTER_API_KEY": "sk-or-v1-fresh"}


@dataclass
class Clock:
    """Unix time by hand. It begins at noon tomorrow, so that no limit resets while a test runs."""

    now: float = (time.time() // DAY_S + 1.5) * DAY_S

    def __call__(self) -> float:
        return self.now


@dataclass
class NewUser:
    """A gateway with default settings, as its user sees it."""

    client: aiohttp.ClientSession
    clock: Clock

    @property
    def midnight(self) -> float:
        """When the day of the clock ends, UTC."""
        return (self.clock.now // DAY_S + 1) * DAY_S

    async def ask(self, **more: object) -> tuple[int, Any, Headers]:
        async with self.client.post("/v1/chat/completions", json=BODY | more) as answer:
            return answer.status, await answer.json(), answer.headers

    async def health(self) -> Any:
        async with self.client.get("/health") as answer:
            return await answer.json()


@pytest.fixture
async def user(gateways: Any, redis_url: str) -> AsyncIterator[NewUser]:
    clock = Clock()
    simulator = Simulator(InventedWorld(MODELS), Pace(speed=1000), random.Random(0), NewAccount(clock))
    async with TestServer(simulator.application()) as upstream:
        gateway = await gateways(
            OPENROUTER_BASE_URL=str(upstream.make_url("/api/v1")), REDIS_URL=redis_url, **UNSET, **KEY
        )
        async with aiohttp.ClientSession(gateway.url) as client:
            yield NewUser(client, clock)


async def test_the_defaults_choose_free_chat_models_and_a_living_default(user: NewUser) -> None:
    """Eight free models of different families; Claude 3.5 Sonnet is gone, and the newest Sonnet stands in for it."""
    health = await user.health()
    free = health["arm_list"]["free"]
    assert len(free) == MAX_FREE
    assert {model.id for model in MODELS if model.price == FREE} >= set(free)
    assert {"nova/nova-3-120b:free", "deepseek/deepseek-v4:free", "google/gemma-4-31b-it:free"} <= set(free)
    useless = {"meta-llama/llama-guard-4-12b:free", "google/lyria-3:free", "small/short-context-9b:free"}
    assert not {*useless, "openrouter/free", "openrouter/auto"} & set(free)
    assert health["default_model"]["used"] == "anthropic/claude-sonnet-4.5"
    assert health["unlisted"] == ["claude-3.5-sonnet"]


async def test_fifty_requests_are_answered_and_the_next_one_says_when_to_come_again(user: NewUser) -> None:
    """Within 20 a minute all 50 of the day are answered, by several models; then 429, until midnight."""
    answered = Counter[str]()
    for number in range(50):
        status, body, headers = await user.ask()
        assert status == 200, (number, body)
        answered[headers["x-router-model"]] += 1
        user.clock.now += 3.1
    assert len(answered) > 1
    for number in range(4):
        status, body, headers = await user.ask()
        assert status == 429, (number, body)
        assert body["error"]["code"] == "upstream_rate_limited"
        assert int(headers["Retry-After"]) == pytest.approx(user.midnight - time.time(), abs=20)
        assert "limit of free requests is used up" in body["error"]["message"]
        assert f"{datetime.fromtimestamp(user.midnight, UTC):%Y-%m-%d}" in body["error"]["message"]


async def test_the_twenty_first_of_a_minute_waits_for_the_next_minute(user: NewUser) -> None:
    """20 at once are answered; the next one is 429, and the minute's end is not the day's."""
    for _ in range(20):
        assert (await user.ask())[0] == 200
    for _ in range(2):
        status, body, headers = await user.ask()
        assert status == 429, body
        assert int(headers["Retry-After"]) == pytest.approx(user.clock.now // 60 * 60 + 60 - time.time(), abs=20)


async def test_a_paid_model_by_name_says_that_there_is_no_credit(user: NewUser) -> None:
    """The upstream's reason, and free models go on."""
    status, body, _ = await user.ask(model="openai/gpt-5")
    assert status == 402, body
    assert "credit" in body["error"]["message"].lower()
    for _ in range(5):
        assert (await user.ask())[0] == 200
