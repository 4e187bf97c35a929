"""The simulated judge: it scores by what the models' answers are worth, as well or as badly as requested."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.simulator.app import Pace, Simulator
from deploy.simulator.judge import HEADER, JUDGE, parse_behaviours
from deploy.simulator.models import InventedWorld, RecordedWorld
from deploy.simulator.recorded_outcomes import load_outcomes
from services.learner.evaluating.judge_prompt import judge_messages
from services.learner.evaluating.rubric import Rubric
from services.learner.evaluating.verdict import scores_of

Client = TestClient[Any, Any]
MODELS = ("openai/gpt-4o", "openai/gpt-4o-mini", "google/gemini-2.5-pro")
RUBRIC = Rubric("Grade.")


@asynccontextmanager
async def serving(judge: str = "exact", world: Any = None) -> AsyncIterator[Client]:
    app = Simulator(world or InventedWorld(), Pace(speed=1000, failures=0), random.Random(0), judge=judge).application()
    async with TestClient(TestServer(app)) as client:
        yield client


async def answer(client: Client, model: str, prompt: str) -> tuple[str, float]:
    """Return a model's answer to the prompt, and what it is worth."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    reply = await client.post("/v1/chat/completions", json={"model": model, "messages": messages})
    text = (await reply.json())["choices"][0]["message"]["content"]
    return text, float(reply.headers["x-simulated-quality"])


async def judged(
    client: Client, prompt: str, answers: list[str], rubric: Rubric = RUBRIC, header: str | None = None
) -> tuple[float, ...] | None:
    """Return the scores that the product reads from the judge's answer."""
    messages = judge_messages(rubric, {"messages": [{"role": "user", "content": prompt}]}, answers)
    headers = {HEADER: header} if header else {}
    reply = await client.post("/v1/chat/completions", json={"model": JUDGE.id, "messages": messages}, headers=headers)
    body = await reply.json()
    assert body["usage"]["cost"] > 0
    return scores_of(body["choices"][0]["message"]["content"], len(answers), rubric)


async def test_an_exact_judge_returns_what_each_answer_is_worth() -> None:
    """In the order of the answers, on any scale. Of an answer without an author nothing is known."""
    async with serving() as client:
        answers = [await answer(client, model, "Why is the sky blue?") for model in MODELS]
        texts, worth = [text for text, _ in answers], tuple(worth for _, worth in answers)
        assert len(set(worth)) == 3
        assert await judged(client, "Why is the sky blue?", texts) == pytest.approx(worth, abs=1e-4)
        backwards = await judged(client, "Why is the sky blue?", texts[::-1], Rubric("Grade.", 1, 5))
        assert backwards == pytest.approx(worth[::-1], abs=1e-3)
        assert await judged(client, "Why is the sky blue?", ["Because.", ""]) == (0.5, 0.0)


async def test_recorded_outcomes_are_the_scores_of_recorded_prompts() -> None:
    """As the demo replays them."""
    outcomes = load_outcomes(None).take(range(5))
    async with serving(world=RecordedWorld(outcomes)) as client:
        for row, prompt in enumerate(outcomes.prompts):
            texts = [(await answer(client, model, prompt))[0] for model in outcomes.models]
            assert await judged(client, prompt, texts) == pytest.approx(outcomes.scores[row], abs=1e-4)


async def test_noise_is_drawn_for_each_verdict() -> None:
    """With the deviation that is given, by the header or by the option."""
    for option, header in (("noisy;sd=0.1", None), ("exact", "noisy;sd=0.1")):
        async with serving(option) as client:
            text, worth = await answer(client, "openai/gpt-oss-20b:free", "Hello")
            scores = [await judged(client, "Hello", [text], header=header) for _ in range(100)]
            errors = [score[0] - worth for score in scores if score is not None]
            assert 0.07 < statistics.pstdev(errors) < 0.13
            assert abs(statistics.fmean(errors)) < 0.04


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("biased;model=openai/gpt-4o-mini;by=0.05", (0.0, 0.05)),
        ("adversarial", (None, None)),
        ("inverted;model=openai/gpt-4o-mini", (0.0, "inverted")),
        ("inverted", ("inverted", "inverted")),
        ("adversarial,inverted;model=openai/gpt-4o-mini", (None, -1.0)),
    ],
)
async def test_a_bad_judge(behaviour: str, expected: tuple[Any, Any]) -> None:
    """Some models are favoured, all get full marks, or the scores of one are turned round."""
    async with serving(behaviour) as client:
        answers = [await answer(client, model, "Hello") for model in ("openai/gpt-4o", "openai/gpt-4o-mini")]
        scores = await judged(client, "Hello", [text for text, _ in answers])
        wanted = [
            1.0 if change is None else 0.0 if change == -1.0 else 1 - worth if change == "inverted" else worth + change
            for (_, worth), change in zip(answers, expected, strict=True)
        ]
        assert scores == pytest.approx(wanted, abs=1e-4)


async def test_a_judge_without_a_verdict_and_a_failing_one() -> None:
    """Other requests are served as before."""
    async with serving("chatty") as client:
        assert await judged(client, "Hello", ["a"]) is None
    async with serving("failing") as client:
        messages = judge_messages(RUBRIC, {"messages": []}, ["a"])
        reply = await client.post("/v1/chat/completions", json={"model": JUDGE.id, "messages": messages})
        assert reply.status == 503
        assert (await answer(client, MODELS[0], "Hello"))[0]


async def test_a_slow_judge() -> None:
    """It answers in the end."""
    async with serving("slow;seconds=0.2") as client:
        began = time.monotonic()
        assert await judged(client, "Hello", ["a"]) == (0.5,)
        assert time.monotonic() - began >= 0.2


async def test_what_only_looks_like_a_rubric_prompt_is_answered_as_usual() -> None:
    """JSON of users is no material of a judge."""
    async with serving("failing") as client:
        for text in ('{"question": 1}', "[]", json.dumps({"question": {"messages": 3}, "answers": {}})):
            assert (await answer(client, MODELS[0], text))[0].startswith("[simulated openai/gpt-4o]")


@pytest.mark.parametrize("text", ["", "kind", "noisy;sd=much", "noisy;sd=nan", "exact,", "noisy;speed=3"])
def test_an_unknown_behaviour_is_refused(text: str) -> None:
    """A typing error must not make an exact judge."""
    with pytest.raises(ValueError, match=r"x-simulate-judge|float"):
        parse_behaviours(text)


async def test_the_judge_is_listed_with_its_price_and_models_with_benchmarks() -> None:
    """An index is close to the quality, and models differ in it."""
    async with serving() as client:
        listed = {entry["id"]: entry for entry in (await (await client.get("/v1/models")).json())["data"]}
    assert float(listed[JUDGE.id]["pricing"]["completion"]) > 0
    indices = {name: entry["benchmarks"]["artificial_analysis"]["intelligence_index"] for name, entry in listed.items()}
    assert all(0 < index < 100 for index in indices.values())
    assert indices["google/gemini-2.5-pro"] > indices["openai/gpt-oss-20b:free"] + 10
