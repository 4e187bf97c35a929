"""Evaluations of a whole stack: a request's other answers and scores, and models scored on own prompts."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from deploy.simulator.judge import JUDGE
from deploy.simulator.models import InventedWorld
from shared.settings import Settings, load_settings
from tests.e2e.conftest import MODELS

ARMS = ("openai/gpt-4o", "openai/gpt-4o-mini", "google/gemini-2.5-flash")
SETTINGS = {"HOST": "127.0.0.1", "JUDGE_MODEL": JUDGE.id, "LLM_MODELS": ",".join(ARMS), "DEFAULT_MODEL": ARMS[0]}
ENOUGH = 6


@pytest.fixture(scope="module")
def judged_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings, folder = load_settings(SETTINGS, None), tmp_path_factory.mktemp("judged")
    with Stack(Planner(settings, folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)) as stack:
        stack.start()
        yield stack


@pytest.fixture
async def judged_client(judged_stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(judged_stack.plan.gateway_url) as session:
        yield session


async def ask(client: aiohttp.ClientSession, question: str, **more: Any) -> str:
    """Ask; return the id of the request."""
    body = {"model": "auto", "messages": [{"role": "user", "content": question}], **more}
    async with client.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
        await answer.read()
        return answer.headers["x-request-id"]


async def recorded(client: aiohttp.ClientSession, request_id: str) -> dict[str, Any]:
    """Return the record of a request once it is stored."""
    async with asyncio.timeout(30):
        while True:
            async with client.get(f"/requests/{request_id}") as answer:
                if answer.status == 200:
                    return dict(await answer.json())
            await asyncio.sleep(0.05)


async def evaluated(client: aiohttp.ClientSession, request_id: str) -> dict[str, Any]:
    """Return the record of a request once it has been evaluated."""
    async with asyncio.timeout(30):
        while True:
            record = await recorded(client, request_id)
            if record.get("evaluation") is not None:
                return record
            await asyncio.sleep(0.2)


async def planned(client: aiohttp.ClientSession, text: str) -> dict[str, str]:
    """Ask numbered questions, whole and streamed, until ENOUGH are to be evaluated; return these by their ids."""
    found: dict[str, str] = {}
    async with asyncio.timeout(90):
        for number in itertools.count():
            question = f"{text} {number}"
            request_id = await ask(client, question, stream=bool(number % 2))
            if (await recorded(client, request_id))["evaluation_plan"] is not None:
                found[request_id] = question
            if len(found) == ENOUGH:
                break
    return found


async def test_other_models_are_scored_beside_the_one_that_served(judged_client: aiohttp.ClientSession) -> None:
    """Whole answers and streams alike: each score is what the model's answer is worth, and none is a rating."""
    world, asked = InventedWorld(), set[str]()
    for request_id, question in (await planned(judged_client, "A question about the weather")).items():
        record = await evaluated(judged_client, request_id)
        result, plan = record["evaluation"], record["evaluation_plan"]
        assert (result["judge"], result["error"]) == (JUDGE.id, None)
        scores = {one["arm"]: one["score"] for one in result["candidates"]}
        assert set(scores) == {record["outcome"]["arm"], *plan["arms"]}
        worth = {arm: world.reply(world.models[arm], question, len(question)).quality for arm in scores}
        assert scores == pytest.approx(worth, abs=1e-4)
        assert [one["arm"] for one in result["candidates"] if one["served"]] == [record["outcome"]["arm"]]
        asked |= set(plan["arms"])
    assert asked


async def test_requests_that_must_not_be_evaluated_are_not(judged_client: aiohttp.ClientSession) -> None:
    """Their prompts go to the model that answers, and to no other."""
    ids = [await ask(judged_client, f"A secret {number}", store=False) for number in range(20)]
    records = [await recorded(judged_client, request_id) for request_id in ids]
    assert {(record["evaluation_plan"], record.get("evaluation")) for record in records} == {(None, None)}


def test_models_are_scored_on_own_prompts(judged_stack: Stack, tmp_path: Path) -> None:
    """The cost is shown first, and nothing is asked without a yes; a second run only imports what is known."""
    file, folder = tmp_path / "prompts.jsonl", judged_stack.plan.parts[0].server.log.parents[1]
    file.write_text("".join(json.dumps({"prompt": f"Own prompt {number}"}) + "\n" for number in range(10)))
    inherited = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}

    def evaluate_models(*more: str) -> str:
        module = ("deploy.local.import_scores", "--folder", str(folder), "--command", "evaluate-models")
        done = subprocess.run(
            [sys.executable, "-m", *module, str(file), *more], env=inherited | SETTINGS, cwd=ROOT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = evaluate_models()
    assert "USD  in all" in shown
    assert "nothing was asked" in shown
    assert "10 prompts scored" in evaluate_models("--yes")
    lines = [json.loads(line) for line in (tmp_path / "prompts.scores.jsonl").read_text().splitlines()]
    assert {(line["prompt"], line["model"]) for line in lines} == {
        (f"Own prompt {number}", arm) for number in range(10) for arm in ARMS
    }
    assert "0 prompts with 0 scores of 0 models imported; 10 were known" in evaluate_models("--yes")
