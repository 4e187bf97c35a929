"""The soak's judgement: which failure was needless, and which process grew."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio as aioredis
from aiohttp.test_utils import TestClient, TestServer

from benchmarks.soaking.account import read_records
from benchmarks.soaking.watch import Sample, Watcher, sample
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.faults import AT_RANDOM, NO_FAULT, parse_fault
from deploy.simulator.models import InventedWorld
from shared.schemas.records import Attempt, Status
from shared.storage import redis_keys
from shared.storage.story_codec import packed
from tests.support.sample_records import a_record
from tests.support.values import replace


def attempt(arm: str, *, spent: bool) -> Attempt:
    return Attempt(arm, "status_500", 1.0, spent=spent)


async def test_only_a_failure_with_a_model_left_to_ask_is_needless(redis_url: str) -> None:
    """Two calls that may have been billed, or all models called: no better was possible. Else it was."""
    failures = {
        "paid-twice": [attempt("a", spent=True), attempt("b", spent=True)],
        "all-asked": [attempt(arm, spent=False) for arm in "abcd"],
        "given-up": [attempt("a", spent=False), attempt("b", spent=False)],
        "answered": [attempt("a", spent=True), attempt("b", spent=False)],
    }
    async with aioredis.Redis.from_url(redis_url) as client:
        for public_id, attempts in failures.items():
            record = a_record(1e9, public_id=public_id, status=Status.FAILED)
            record = replace(record, outcome=replace(record.outcome, attempts=tuple(attempts)))
            await client.set(redis_keys.story(record.id), packed(record))
    records = await read_records(redis_url, ["paid-twice", "all-asked", "given-up", "lost"], arms=4)
    assert sorted(records.needless) == ["given-up", "lost"]
    assert records.recorded == 4
    assert sum(records.reasons.values()) == 2


@pytest.mark.parametrize(
    ("name", "end", "flat"),
    [
        ("gateway", Sample(109, 60, 8), True),
        ("gateway", Sample(111, 50, 8), False),
        ("gateway", Sample(100, 99, 8), False),
        ("redis", Sample(500, 50, 8), True),
    ],
)
def test_a_process_may_grow_by_a_tenth_and_a_store_by_what_it_keeps(name: str, end: Sample, flat: bool) -> None:
    """Memory and descriptors are judged for everything that keeps no data."""
    stack: Any = SimpleNamespace(pids=dict)
    watcher = Watcher(stack)
    watcher.first, watcher.last = {name: Sample(100, 50, 8)}, {name: end}
    assert watcher.judged()[name][2] is flat


def test_a_process_that_is_gone_has_no_sample() -> None:
    """The machine may reap a part between two looks."""
    assert sample(2**22 + 1) is None


async def test_faults_at_random_are_faults_that_exist() -> None:
    """`--faults 1` spoils every call, in a way that the header could have asked for."""
    assert all(parse_fault(fault, "any") != NO_FAULT for fault in AT_RANDOM)
    app = Simulator(InventedWorld(), Pace(speed=1000, failures=0, faults=1.0), random.Random(3)).application()
    async with TestClient(TestServer(app)) as client:
        body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
        answers = [
            await client.post("/v1/chat/completions", json=body, headers={"x-simulate": fault})
            for fault in AT_RANDOM
            if fault.startswith("status")
        ]
        assert {answer.status for answer in answers} == {429, 500, 502, 503, 529}
        seen = await (await client.get("/seen")).json()
        assert seen == [body] * len(answers)
