"""Two applications whose users ask the same: each gets its own best model, and no system prompt is stored."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import redis.asyncio as aioredis

from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import load_settings
from shared.storage import redis_keys, story_codec
from tests.e2e.conftest import MODELS

FIRST, SECOND = "meta-llama/llama-3.3-70b-instruct:free", "google/gemma-3-27b-it:free"
APPLICATIONS = {
    FIRST: "You are a kindergarten teacher with a parrot. Answer as a story of three sentences that a child of four "
    "understands, and end with a riddle about an animal.",
    SECOND: "You assist chartered accountants. Answer with a table of figures, cite the paragraph of the standard that "
    "applies, and name what an auditor would object to.",
}
"""System prompt by the model whose answers are good in that application."""

QUESTIONS = [
    f"{opening} {thing}?"
    for thing in ("a bank", "interest", "a loan", "insurance", "a budget", "a tax", "savings", "a pension")
    for opening in ("What is", "Tell me about", "Why do people need", "How would you explain", "Who invented")
]
TAUGHT, DRY_RUNS, AT_ONCE, READ_S = 80, 25, 10, 0.6

SETTINGS = {
    "HOST": "127.0.0.1",
    "LLM_MODELS": ",".join(APPLICATIONS),
    "DEFAULT_MODEL": SECOND,
    "FEEDBACK_WEIGHT": "1",
    "LATENCY_WEIGHT": "0",
    "COST_WEIGHT": "0",
}


@pytest.fixture
def fresh_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that has learned nothing."""
    planner = Planner(load_settings(SETTINGS, None), tmp_path, MODELS, Simulation(speed=20, failures=0), anywhere=True)
    with Stack(planner) as stack:
        stack.start()
        yield stack


def body_of(application: str, question: str) -> dict[str, Any]:
    system = {"role": "system", "content": APPLICATIONS[application]}
    return {"messages": [system, {"role": "user", "content": question}]}


async def ask_and_rate(client: aiohttp.ClientSession, application: str, question: str, rng: random.Random) -> str:
    """Ask, and rate the answer: good by the application's own model in 9 of 10 cases, by the other in 3 of 10."""
    request_id = str(uuid.uuid4())
    body, named = body_of(application, question), {"X-Request-ID": request_id}
    async with client.post("/chat/completions", json=body, headers=named) as answer:
        assert answer.status == 200, await answer.text()
        model = answer.headers["x-router-model"]
    score = float(rng.random() < (0.9 if model == application else 0.3))
    async with client.post("/feedback", json={"request_id": request_id, "score": score}) as rated:
        assert rated.status == 202
    return request_id


async def teach(client: aiohttp.ClientSession, rng: random.Random) -> list[str]:
    """Ask each question in both applications, a few at a time; return the ids."""
    requests = [(application, rng.choice(QUESTIONS)) for application in APPLICATIONS for _ in range(TAUGHT)]
    rng.shuffle(requests)
    found: list[str] = []
    for at in range(0, len(requests), AT_ONCE):
        found += await asyncio.gather(*(ask_and_rate(client, *each, rng) for each in requests[at : at + AT_ONCE]))
        await asyncio.sleep(READ_S)
    return found


async def chosen(client: aiohttp.ClientSession, application: str) -> tuple[Counter[str], set[str]]:
    """Return the models of some dry runs, and the hashes of system prompts that they show."""
    models, traits = Counter[str](), set[str]()
    for question in QUESTIONS[:DRY_RUNS]:
        async with client.post("/route", json=body_of(application, question)) as answer:
            shown = await answer.json()
        models[shown["model"]] += 1
        traits.update(trait for trait in shown["traits"] if trait.startswith("system:"))
    return models, traits


async def stored_bytes(redis_url: str) -> bytes:
    """Return all values in Redis, one after another; packed records as JSON."""
    values: list[bytes] = []
    async with aioredis.Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter(count=1000):
            values.append(await redis.dump(key) or b"")
            if await redis.type(key) == b"hash":
                values += (await redis.hgetall(key)).values()
            elif key.startswith(redis_keys.story("").encode()):
                own_id = key.decode().removeprefix(redis_keys.story(""))
                values.append(msgspec.json.encode(story_codec.record_of(await redis.get(key), own_id)))
    return b"\n".join(values)


def logged_bytes(folder: Path) -> bytes:
    """Return all logs, one after another."""
    logs = [log.read_bytes() for log in folder.rglob("*.log")]
    assert logs
    return b"\n".join(logs)


async def test_the_same_question_is_learned_apart_in_two_applications(fresh_stack: Stack, tmp_path: Path) -> None:
    """Their users' texts are alike, their best models are not. What tells them apart is a hash."""
    async with aiohttp.ClientSession(fresh_stack.plan.gateway_url, timeout=aiohttp.ClientTimeout(total=30)) as client:
        request_ids = await teach(client, random.Random(3))
        await asyncio.sleep(2)
        traits: list[str] = []
        for application in APPLICATIONS:
            models, shown = await chosen(client, application)
            print(application, dict(models), shown)
            assert models[application] >= 0.8 * DRY_RUNS
            assert len(shown) == 1
            traits += shown
        assert len(set(traits)) == 2
        async with client.get(f"/requests/{request_ids[0]}") as answer:
            record = await answer.json()
        assert record["traits"][0] in traits
    stored = await stored_bytes(fresh_stack.plan.redis_url)
    assert traits[0].encode() in stored
    for word in (b"kindergarten", b"parrot", b"chartered", b"auditor"):
        assert word not in stored
    assert b"kindergarten" not in await asyncio.to_thread(logged_bytes, tmp_path)
