"""The whole loop over HTTP and Redis: chat, rate, and the ratings are learned."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from deploy.local.demo.reconciliation import Reconciliation, reconcile
from deploy.local.stack import Stack
from shared.bandit.sums import LABELS, MICRO, SCORE
from shared.storage import redis_keys

QUESTION = {"messages": [{"role": "user", "content": "How far away is the moon?"}]}


async def get(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def until(
    true: Callable[[], Awaitable[bool]], what: str, seen: object = None, *, patience_s: float = 15.0
) -> None:
    deadline = time.monotonic() + patience_s
    while not await true():
        assert time.monotonic() < deadline, f"never: {what}; seen: {seen}"
        await asyncio.sleep(0.05)


async def sums_of(redis_url: str, arm: str) -> tuple[int, int]:
    """Return ratings and the sum of scores, in millionths, of all days."""
    async with aioredis.Redis.from_url(redis_url, decode_responses=True) as client:
        hashes = [await client.hgetall(key) async for key in client.scan_iter(match=redis_keys.sums(arm, "*"))]
    return sum(int(found.get(LABELS, 0)) for found in hashes), sum(int(found.get(SCORE, 0)) for found in hashes)


async def test_a_rating_moves_the_posterior_and_the_record_tells_why(
    stack: Stack, client: aiohttp.ClientSession
) -> None:
    """Chat, then feedback: the sums in Redis grow by exactly this rating, `/arms` shows it, `/requests` tells all."""
    request_id = f"e2e-{uuid.uuid4()}"
    async with client.post("/chat/completions", json=QUESTION, headers={"X-Request-ID": request_id}) as answer:
        assert answer.status == 200
        arm, propensity = answer.headers["x-router-model"], float(answer.headers["x-router-propensity"])
        assert answer.headers["x-request-id"] == request_id
        assert (await answer.json())["model"] == arm
    assert 0 < propensity <= 1

    before = await sums_of(stack.plan.redis_url, arm)
    mean_before = (await arm_of(client, arm))["quality"]
    async with client.post("/feedback", json={"request_id": request_id, "score": 0.0}) as answer:
        assert answer.status == 202

    async def learned() -> bool:
        labels, score = await sums_of(stack.plan.redis_url, arm)
        return (labels, score) == (before[0] + 1, before[1])

    async def shown() -> bool:
        return bool((await arm_of(client, arm))["quality"] < mean_before)

    await until(learned, "the sums hold this rating and nothing else")
    await until(shown, "the gateways see it")

    story = await get(client, f"/requests/{request_id}")
    assert story["model"] == arm
    assert story["feedback"]["score"] == 0.0
    learned_of = {"outcome": True, "feedback": True, "feedback_revision": 1, "scores": {}, "evaluation": False}
    assert story["learned"] == learned_of
    assert story["decision"]["propensity"] == propensity or round(story["decision"]["propensity"], 4) == round(
        propensity, 4
    )
    assert story["outcome"]["attempts"][0]["arm"] == arm
    assert sum(view["propensity"] for view in story["decision"]["arms"]) - 1 < 1e-9
    short = await get(client, f"/metrics/{request_id}")
    assert short["score"] == 0.0
    assert short["tokens"]["total"] == short["tokens"]["prompt"] + short["tokens"]["completion"]


async def arm_of(client: aiohttp.ClientSession, arm: str) -> Any:
    return next(entry for entry in (await get(client, "/arms"))["data"] if entry["arm"] == arm)


async def test_a_revised_rating_replaces_the_first(stack: Stack, client: aiohttp.ClientSession) -> None:
    """Two scores for one request count once, and it is the last that counts."""
    request_id = f"e2e-{uuid.uuid4()}"
    async with client.post("/chat/completions", json=QUESTION, headers={"X-Request-ID": request_id}) as answer:
        arm = answer.headers["x-router-model"]
    labels, score = await sums_of(stack.plan.redis_url, arm)
    for rating in (0.25, 0.25, 0.75):
        async with client.post("/feedback", json={"request_id": request_id, "score": rating}) as answer:
            assert answer.status == 202
    wanted = labels + 1, score + round(0.75 * MICRO)

    async def learned() -> bool:
        return await sums_of(stack.plan.redis_url, arm) == wanted

    await until(learned, "one rating, the last")
    assert (await get(client, f"/requests/{request_id}"))["feedback"]["revision"] == 2


async def test_a_stream_is_recorded_and_can_be_rated(client: aiohttp.ClientSession) -> None:
    """A streamed answer ends in `[DONE]`, hides the usage that only we asked for, and is recorded with its cost."""
    request_id = f"e2e-{uuid.uuid4()}"
    body = QUESTION | {"stream": True, "model": "anthropic/claude-3.5-sonnet"}
    async with client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    events = [line[6:] for line in text.split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert not any("usage" in json.loads(event) for event in events[:-1])
    story = await get(client, f"/requests/{request_id}")
    assert story["status"] == "answered"
    assert story["decision"]["kind"] == "pinned"
    assert story["outcome"]["streamed"]
    assert story["outcome"]["cost_usd"] > 0
    assert story["outcome"]["first_token_s"] is not None
    async with client.post("/feedback", json={"request_id": request_id, "score": 1}) as answer:
        assert answer.status == 202


async def test_with_enough_traffic_decisions_name_the_kind_of_prompt(client: aiohttp.ClientSession) -> None:
    """A learner assigns requests to kinds, and a decision says into which its prompt falls."""

    async def ask(text: str) -> str:
        body = {"messages": [{"role": "user", "content": text}]}
        request_id = f"e2e-{uuid.uuid4()}"
        async with client.post("/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
            assert answer.status == 200
        return request_id

    for at in range(8):
        await ask(f"Tell me about number {at} in the history of {('music', 'physics', 'law', 'food')[at % 4]}.")

    async def known() -> bool:
        story = await get(client, f"/requests/{await ask('What is a fugue?')}")
        return story["decision"]["prompt_kind"] is not None

    await until(known, "a decision with a kind of prompt", patience_s=30.0)


async def test_a_failing_model_is_replaced_without_the_client_noticing(client: aiohttp.ClientSession) -> None:
    """When the chosen arm answers 503, another arm answers, and the record says so."""
    arms = [entry["arm"] for entry in (await get(client, "/arms"))["data"]]
    request_id = f"e2e-{uuid.uuid4()}"
    headers = {"X-Request-ID": request_id, "x-simulate": f"status-500;model={arms[0]}"}
    body = QUESTION | {"models": arms[:2]}
    async with client.post("/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["x-router-model"] == arms[1]


async def test_everything_that_was_sent_is_accounted_for(stack: Stack, client: aiohttp.ClientSession) -> None:
    """After all the tests above nothing waits, nothing is dead, and health says that every part is well."""
    ill: dict[str, Any] = {}

    async def well() -> bool:
        parts = (await get(client, "/health"))["parts"]
        ill.clear()
        ill.update({name: part for name, part in parts.items() if part["status"] != "ok"})
        return not ill

    await until(well, "every part is well", ill)
    account: Reconciliation = await reconcile(stack.plan.redis_url, 0)
    assert (account.waiting, account.dead) == (0, 0)
