"""Topics taught one after another over HTTP: what was learned of the first is kept, a new one is known to be new."""

from __future__ import annotations

import asyncio
import random
import statistics
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from benchmarks.replays.made_up import made_up_prompts
from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import load_settings
from tests.e2e.conftest import MODELS

LLAMA, GEMMA, GPT = "meta-llama/llama-3.3-70b-instruct:free", "google/gemma-3-27b-it:free", "openai/gpt-oss-20b:free"
TAUGHT = {"code": LLAMA, "poetry": GEMMA, "translation": GPT}
"""The model whose answers are good, by topic, in the order of teaching."""

NEVER_TAUGHT = [
    f"My {part} hurts after {what}. What should I do?"
    for part in ("knee", "ankle", "hip", "shoulder", "foot", "neck")
    for what in ("running", "swimming", "a long flight", "gardening", "a fall")
]
"""Prompts of another topic, without the openers and closers that the taught ones share."""

GOOD, BAD = 0.9, 0.4
RATED = 150
"""Requests of each topic, all rated."""

DRY_RUNS = 30
AT_ONCE = 10
SETTINGS = {
    "HOST": "127.0.0.1",
    "LLM_MODELS": ",".join(TAUGHT.values()),
    "DEFAULT_MODEL": GPT,
    # Quality alone: an answer of the simulator is as quick as the machine is idle.
    "FEEDBACK_WEIGHT": "1",
    "LATENCY_WEIGHT": "0",
    "COST_WEIGHT": "0",
    # Nor may it decide which requests have a vector.
    "EMBED_TIMEOUT_MS": "10000",
    "SEARCH_TIMEOUT_MS": "10000",
    "REDIS_TIMEOUT_MS": "10000",
}


@dataclass
class Lesson:
    """What was shown after three topics had been taught.

    Attributes:
        arms: the answer of `/arms?kinds=1`.
        decisions: dry runs of further prompts, by topic.
        unknown: dry runs of a topic that was never asked.
    """

    arms: dict[str, Any]
    decisions: dict[str, list[dict[str, Any]]]
    unknown: list[dict[str, Any]]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lesson]:
    """Teach a stack that has learned nothing, and ask it again."""
    folder = tmp_path_factory.mktemp("topics")
    planner = Planner(load_settings(SETTINGS, None), folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)
    with Stack(planner) as stack:
        stack.start()
        yield asyncio.run(taught(stack.plan.gateway_url))


async def taught(url: str) -> Lesson:
    """Teach the topics in turn, then ask for decisions on each and on one that was never taught."""
    prompts, rng = prompts_by_topic(RATED + DRY_RUNS), random.Random(7)
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=30)) as client:
        for before, (topic, model) in enumerate(TAUGHT.items()):
            await teach(client, prompts[topic][:RATED], model, rng, ratings=before * RATED)
        shown = await learned(client, RATED * len(TAUGHT), kinds=64)
        decisions = {topic: await dry_runs(client, prompts[topic][RATED:]) for topic in TAUGHT}
        return Lesson(shown, decisions, await dry_runs(client, NEVER_TAUGHT))


def body_of(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def prompts_by_topic(number: int) -> dict[str, list[str]]:
    """Return different English prompts of every topic."""
    made = made_up_prompts(number, english=1.0)
    found: dict[str, list[str]] = {}
    for prompt, topic in zip(made.prompts, made.topics, strict=True):
        found.setdefault(topic, []).append(prompt)
    return found


def score_of(good: bool, rng: random.Random) -> float:
    """Return a rating, 1 or 0, of a good or a bad answer."""
    return float(rng.random() < (GOOD if good else BAD))


async def teach(
    client: aiohttp.ClientSession, prompts: Sequence[str], good: str, rng: random.Random, ratings: int
) -> None:
    """Ask each prompt and rate the answer, a few at a time, after `ratings` others; the next ones when all count."""

    async def one(prompt: str) -> None:
        request_id = str(uuid.uuid4())
        async with client.post(
            "/chat/completions", json=body_of(prompt), headers={"X-Request-ID": request_id}
        ) as answer:
            assert answer.status == 200, await answer.text()
            model = answer.headers["x-router-model"]
        score = score_of(model == good, rng)
        async with client.post("/feedback", json={"request_id": request_id, "score": score}) as rated:
            assert rated.status == 202

    for at in range(0, len(prompts), AT_ONCE):
        some = prompts[at : at + AT_ONCE]
        await asyncio.gather(*(one(prompt) for prompt in some))
        await learned(client, ratings + at + len(some))


async def learned(client: aiohttp.ClientSession, ratings: int, kinds: int = 0) -> dict[str, Any]:
    """Wait until so many ratings count for the gateway; return the arms, with so many of their `kinds`."""
    params = {"kinds": 1, "limit": kinds} if kinds else {}
    for _ in range(300):
        async with client.get("/arms", params=params) as answer:
            shown: dict[str, Any] = await answer.json()
        if sum(arm["labels"] for arm in shown["data"]) > ratings - 0.5:
            return shown
        await asyncio.sleep(0.1)
    raise AssertionError(f"never {ratings} ratings: {shown['data']}")


async def dry_runs(client: aiohttp.ClientSession, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the decisions for these prompts."""
    decisions = []
    for prompt in prompts:
        async with client.post("/route", json=body_of(prompt)) as answer:
            assert answer.status == 200
            decisions.append((await answer.json())["decision"])
    return decisions


def models_of(decisions: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(decision["model"] for decision in decisions)


def agrees(shown: dict[str, Any], decision: dict[str, Any]) -> bool:
    """Compare a decision on a prompt of a known kind with what `/arms` shows of the kind; True if it is shown."""
    of_prompt = decision["prompt_kind"]
    kind = next((each for each in shown["kinds"] if each["id"] == of_prompt["id"]), None)
    if kind is None or of_prompt["new"]:
        return False
    assert of_prompt["size"] == kind["size"]
    assert of_prompt["examples"] == [example["request_id"] for example in kind["examples"]]
    views = {view["arm"]: view for view in decision["arms"]}
    for arm in kind["arms"]:
        assert arm["quality"] == pytest.approx(views[arm["arm"]]["base_quality"])
        assert arm["cost_usd"] == pytest.approx(views[arm["arm"]]["cost_usd"])
    if decision["kind"] == "global":
        assert kind["best"]["arm"] == max(views.values(), key=lambda view: view["utility"])["arm"]
        if decision["model"] == kind["best"]["arm"]:
            assert decision["confidence"] == pytest.approx(kind["best"]["probability"])
    return True


def confidence(decisions: Sequence[dict[str, Any]]) -> float:
    """Return the mean probability that the chosen model is the best."""
    return statistics.fmean(decision["confidence"] for decision in decisions)


def test_what_is_shown_of_a_kind_is_what_decisions_believe(lesson: Lesson) -> None:
    """And the overall figures are those of the kinds, weighted by traffic."""
    decisions = [one for some in lesson.decisions.values() for one in some]
    assert sum(agrees(lesson.arms, decision) for decision in decisions) > DRY_RUNS
    kinds = lesson.arms["kinds"]
    assert len(kinds) == lesson.arms["kinds_total"]
    without = 1 - sum(kind["share"] for kind in kinds)  # of a busy machine: the embedder was too slow for some
    assert 0 <= round(without, 6) < 0.05
    for at, arm in enumerate(lesson.arms["data"]):
        rest = arm["quality"] - sum(kind["share"] * kind["arms"][at]["quality"] for kind in kinds)
        assert -1e-6 <= rest <= without + 1e-6


def test_a_topic_that_was_never_asked_is_new(lesson: Lesson) -> None:
    """No model gets nearly all of it, and decisions on it are less sure than on the topics that were taught."""
    new = [one for one in lesson.unknown if one["prompt_kind"]["new"]]
    assert len(new) >= 0.5 * len(lesson.unknown)
    assert all("This is a new kind of prompt" in one["reason"] for one in new)
    assert max(models_of(lesson.unknown).values()) <= 27
    assert confidence(lesson.unknown) < confidence(lesson.decisions["code"] + lesson.decisions["poetry"])
    assert confidence(lesson.unknown) < 0.6


@pytest.mark.parametrize("topic", TAUGHT)
def test_a_topic_keeps_its_model(lesson: Lesson, topic: str) -> None:
    """Also after others were taught, that model is expected to be best; the draws may try others."""
    best = [max(one["arms"], key=lambda arm: arm["utility"])["arm"] for one in lesson.decisions[topic]]
    assert Counter(best).most_common(1)[0][0] == TAUGHT[topic]
