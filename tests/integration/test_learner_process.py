"""The learner as a process: killed, doubled, stopped and robbed of Redis, it applies every rating exactly once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from deploy.local.servers import free_port
from shared.bandit.sources import Source
from shared.errors import DependencyError
from shared.schemas.events import EVENT_VERSION
from shared.schemas.storage import RatingTerms, Verdict
from shared.storage import redis_keys
from tests.support.evaluations import an_evaluation, evaluate
from tests.support.learner_rig import Rig, learner_rig, until
from tests.support.ledgers import assert_assigned_once, ledgers_in, sums_in

FEEDBACKS = 1000


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with learner_rig(tmp_path) as made:
        yield made


async def settled(rig: Rig, requests: int, scores: list[float]) -> None:
    """Wait for the stream to empty; then everything is applied once, nothing is dead, and the ledgers agree."""
    await until(rig.idle)
    sums = sums_in(rig.url)
    assert sums == ledgers_in(rig.url)
    assert_assigned_once(rig.url)
    assert sums["requests"] == requests
    assert sums["labels"] == len(scores)
    assert sums["score_micro"] == sum(round(score * 1e6) for score in scores)
    assert (await rig.queue.depth()).dead == 0


async def test_kill_9_in_the_middle_of_a_thousand_feedbacks(rig: Rig) -> None:
    """Applied exactly 1,000 times, whatever the killed learners had in hand."""
    learner = rig.start_learner()
    await rig.living(1)
    ids = await rig.record(FEEDBACKS)
    await until(rig.idle)
    scores = [random.random() for _ in ids]
    left = []
    for number, (own_id, score) in enumerate(zip(ids, scores, strict=True)):
        assert await rig.rate(own_id, score) is Verdict.ACCEPTED
        if number % 40 == 0:
            await rig.queue.wake()
        if number in (250, 500, 750):
            learner.kill()
            left.append((await rig.queue.depth()).waiting)
            learner = rig.start_learner()
    assert any(left), "no learner was killed with work in hand"
    await settled(rig, FEEDBACKS, scores)


async def test_kill_9_in_the_middle_of_evaluations_and_scores_of_other_sources(rig: Rig) -> None:
    """Each is applied exactly once, redelivered or sent again, apart from users' ratings."""
    learner = rig.start_learner()
    await rig.living(1)
    ids, weight = await rig.record(300), 0.25
    await until(rig.idle)
    left = []
    for number, own_id in enumerate(ids):
        assert await evaluate(rig.evaluations, own_id, an_evaluation(0.75, 0.5))
        terms = RatingTerms(source=Source.EVAL, weight=weight)
        assert await rig.rate(own_id, 0.5, terms) is Verdict.ACCEPTED
        again = {"v": EVENT_VERSION, "kind": "evaluation", "id": own_id, "revision": 1}
        await rig.client.xadd(redis_keys.EVENTS, again)  # type: ignore[arg-type]  # redis-py's own type is invariant
        if number % 40 == 0:
            await rig.queue.wake()
        if number in (100, 200):
            learner.kill()
            left.append((await rig.queue.depth()).waiting)
            learner = rig.start_learner()
    assert any(left), "no learner was killed with work in hand"
    await settled(rig, len(ids), [])
    sums = sums_in(rig.url)
    assert (sums["labels_milli:judge"], sums["score_micro:judge"]) == (600_000, 300 * 1_250_000)
    assert (sums["labels_milli:eval"], sums["score_micro:eval"]) == (75_000, 300 * 125_000)
    assert (sums["shadows"], sums["cost_nanousd"]) == (300, 300 * (2_000_000 + 3_000_000))


async def test_a_learner_stopped_past_its_claim_comes_back_and_adds_nothing(rig: Rig) -> None:
    """SIGSTOP with a batch in hand: another learner takes it over; what the first one still does has no effect (5)."""
    frozen = rig.start_learner()
    await rig.living(1)
    ids = await rig.record(FEEDBACKS)
    await until(rig.idle)
    scores = [random.random() for _ in ids]
    rating = asyncio.gather(*(rig.rate(own_id, score) for own_id, score in zip(ids, scores, strict=True)))
    await rig.queue.wake()
    await asyncio.sleep(0.05)
    frozen.signal(signal.SIGSTOP)
    assert set(await rating) == {Verdict.ACCEPTED}
    assert (await rig.queue.depth()).waiting > 0, "it was stopped too late"
    rig.start_learner()
    await settled(rig, FEEDBACKS, scores)
    frozen.signal(signal.SIGCONT)
    await asyncio.sleep(1.0)
    await settled(rig, FEEDBACKS, scores)


async def test_two_learners_give_the_sums_of_one(rig: Rig) -> None:
    """Both work at once on ratings and revisions; each request counts with its last score."""
    rig.start_learner()
    rig.start_learner()
    await rig.living(2)
    ids = await rig.record(300)
    scores = [random.random() for _ in ids]
    for revision in range(3):
        for own_id, score in zip(ids, scores, strict=True):
            await rig.rate(own_id, score if revision == 2 else random.random())
        await rig.queue.wake()
    await settled(rig, 300, scores)
    both = [log.read_text() for log in sorted(rig.folder.glob("learner*.log"))]
    assert len(both) == 2
    assert not any('"level": "error"' in text for text in both)


async def test_redis_killed_and_restarted_under_a_working_learner(rig: Rig) -> None:
    """The same process goes on within seconds; no rating that was acknowledged is lost or doubled."""
    learner = rig.start_learner()
    await rig.living(1)
    ids = await rig.record(300)
    accepted = {}
    for number, own_id in enumerate(ids):
        if number in (100, 200):
            rig.redis.kill()
            await asyncio.sleep(0.3)
            rig.redis.start()
        score = random.random()
        # A client would get its 503 and try again: the same rating twice is one.
        for _ in range(200):
            try:
                await rig.rate(own_id, score)
                accepted[own_id] = score
                break
            except DependencyError:
                await asyncio.sleep(0.02)
        if number % 20 == 0 and number not in (100, 200):
            await rig.queue.wake()
    assert len(accepted) == 300
    async with asyncio.timeout(10):
        await settled(rig, 300, list(accepted.values()))
    assert learner.process is not None
    assert learner.process.poll() is None, "the process must outlive Redis"


async def test_sigterm_ends_it_cleanly_and_at_once(rig: Rig) -> None:
    """Exit code 0 with a backlog and without, with Redis and without; what is left is left for the next."""
    learner = rig.start_learner()
    await rig.living(1)
    await rig.record(2000)
    await rig.queue.wake()
    assert await asyncio.to_thread(learner.stop, 5.0) == 0
    assert sums_in(rig.url) == ledgers_in(rig.url)
    rig.redis.kill()
    learner = rig.start_learner()

    async def running() -> bool:
        return "starting again" in learner.log.read_text()

    await until(running)
    assert await asyncio.to_thread(learner.stop, 5.0) == 0


async def test_a_start_before_redis_waits_for_it(rig: Rig) -> None:
    """The order in which things start does not matter."""
    rig.redis.kill()
    learner = rig.start_learner()

    async def waiting() -> bool:
        return "starting again" in learner.log.read_text()

    await until(waiting)
    rig.redis.start()
    rig.redis.wait_for_port(rig.port)
    ids = await rig.record(3)
    await settled(rig, len(ids), [])


async def test_dead_letters_are_listed_and_moved_back_by_command(rig: Rig) -> None:
    """A person sees the reason, repairs the cause and says once more."""
    (own_id,) = await rig.record(1)
    await rig.queue.prepare()
    for event in await rig.queue.read("somebody", 10):
        await rig.queue.bury(event, "the sums were damaged")
    listed = command(rig, "dead")
    assert "the sums were damaged" in listed
    assert own_id in listed
    rig.start_learner()
    assert "1 events" in command(rig, "requeue")
    await settled(rig, 1, [])


def command(rig: Rig, name: str) -> str:
    environment = {**rig.environment(), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "services.learner", name], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


async def test_it_shows_its_health_and_its_figures(rig: Rig) -> None:
    """Prometheus and a person see what it does; a refused setting stops it with code 2 and one line."""
    port = free_port()
    rig.start_learner("services.learner", LEARNER_PORT=str(port), LEARNER_HOST="127.0.0.1")
    await rig.living(1)
    await rig.record(5)
    await until(rig.idle)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/health") as answer:
            assert (await answer.json())["status"] == "ok"
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'llm_router_events_total{kind="outcome",result="applied"} 5.0' in text

    bad = rig.start_learner("services.learner", RECENCY_DAYS="-1")
    assert bad.process is not None
    assert await asyncio.to_thread(bad.process.wait, 10) == 2
    assert "RECENCY_DAYS" in bad.log.read_text()


async def test_wake_ups_are_one_job_and_losing_them_loses_nothing(rig: Rig) -> None:
    """Every key of arq may vanish: the sweep finds the events all the same."""
    for _ in range(20):
        await rig.queue.wake()
    assert 1 <= await rig.client.zcard(redis_keys.ARQ_QUEUE) <= 4
    ids = await rig.record(10)
    await rig.client.delete(redis_keys.ARQ_QUEUE)
    rig.start_learner()
    await settled(rig, len(ids), [])
