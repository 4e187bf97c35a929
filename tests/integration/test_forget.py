"""`python -m services.learner forget`: what one source has taught goes, all else stays, whatever else happens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.learner.commands.forget import Forgotten, Selection, forget, owner_of
from shared.bandit.sources import Source
from shared.schemas.storage import RatingTerms
from shared.storage import redis_keys
from tests.support.evaluations import an_evaluation, evaluate
from tests.support.learning import a_learner
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import Rig, redis_rig
from tests.support.sample_records import ARM, a_new_record

KEY = "key-of-a-liar-0123456789"
LIAR, HONEST = owner_of(KEY), "0123456789abcdef"


@pytest.fixture
async def rig(redis_server: str) -> AsyncIterator[Rig]:
    async with redis_rig(redis_server) as real:
        yield real


async def rated(rig: Rig, owner: str, *, count: int, score: float, arm: str = ARM) -> list[str]:
    """Requests of `owner`, each rated twice: the last one counts."""
    entries = [a_new_record(rig.clock.now(), owner=owner, arm=arm, cluster=(1, 2)) for _ in range(count)]
    await rig.log.record(entries)
    for entry in entries:
        for value in (1 - score, score):
            await rig.log.rate(owner=owner, public_id=entry.record.id, score=value, text="why", now=rig.clock.now())
    return [entry.record.id for entry in entries]


async def forgotten(rig: Rig, source: Selection) -> Forgotten:
    return await forget(source, rig.log, rig.posteriors, lambda _: None)


async def test_beliefs_are_as_if_the_source_had_never_been(rig: Rig, redis_server: str) -> None:
    """Sum by sum equal to a world without it, and to what the remaining ledgers say."""
    await rated(rig, HONEST, count=20, score=0.9)
    await a_learner(rig).drain()
    without = sums_in(redis_server)
    version = (await rig.posteriors.load()).version
    mine = await rated(rig, LIAR, count=700, score=0.0)
    await a_learner(rig).drain()
    assert sums_in(redis_server) != without
    done = await forgotten(rig, Selection(owner=LIAR))
    assert (done.ratings, done.outcomes) == (700, 700)
    assert sums_in(redis_server) == without == ledgers_in(redis_server)
    assert (await rig.posteriors.load()).version != version, "the gateways have to notice"
    for request in await rig.log.load(mine):
        assert request is not None
        assert request.score is None, "its point loses the label"
    assert set(await rig.log.pending_index(2000)) >= set(mine)


async def scored(rig: Rig, own_ids: list[str]) -> None:
    """Let a judge and a test set score these requests of HONEST."""
    for own_id in own_ids:
        assert await evaluate(rig.evaluations, own_id, an_evaluation())
        terms = RatingTerms(source=Source.EVAL, weight=0.5)
        await rig.log.rate(owner=HONEST, public_id=own_id, score=0.25, text=None, now=rig.clock.now(), terms=terms)


@pytest.mark.parametrize("source", [Source.JUDGE, Source.EVAL])
async def test_the_scores_of_one_source_are_taken_out_alone(rig: Rig, redis_server: str, source: Source) -> None:
    """Ratings, traffic, and what answers beside the path cost stay; an event that comes again changes nothing."""
    own_ids = await rated(rig, HONEST, count=3, score=0.75)
    await scored(rig, own_ids)
    await a_learner(rig).drain()
    before = sums_in(redis_server)
    assert before[f"labels_milli:{source}"] == {Source.JUDGE: 6000, Source.EVAL: 1500}[source]
    done = await forgotten(rig, Selection(source=source))
    assert (done.ratings, done.outcomes, done.evaluations) == ((0, 0, 3) if source is Source.JUDGE else (3, 0, 0))
    left = Counter({name: number for name, number in before.items() if f":{source}" not in name})
    assert sums_in(redis_server) == left == ledgers_in(redis_server)
    assert (await forgotten(rig, Selection(source=source))) == Forgotten(requests=3)
    for own_id in own_ids:
        await rig.raw.xadd(redis_keys.EVENTS, {"v": 2, "kind": "evaluation", "id": own_id, "revision": 1})
    await a_learner(rig).drain()
    assert sums_in(redis_server) == left


async def test_a_request_is_forgotten_with_its_evaluation_and_all_scores(rig: Rig, redis_server: str) -> None:
    """Also after the scores of one source were."""
    await scored(rig, await rated(rig, HONEST, count=2, score=0.75))
    await a_learner(rig).drain()
    await forgotten(rig, Selection(source=Source.JUDGE))
    done = await forgotten(rig, Selection(owner=HONEST))
    assert (done.ratings, done.outcomes, done.evaluations) == (4, 2, 2)
    assert not sums_in(redis_server)


async def test_events_still_waiting_come_too_late(rig: Rig, redis_server: str) -> None:
    """Forgotten before it was learned is forgotten, and no event stays behind; a later rating counts anew."""
    (own,) = await rated(rig, LIAR, count=1, score=0.3)
    await forgotten(rig, Selection(owner=LIAR))
    await a_learner(rig).drain()
    assert (await rig.queue.depth()).waiting == 0
    assert not sums_in(redis_server)
    await rig.log.rate(owner=LIAR, public_id=own, score=0.6, text=None, now=rig.clock.now())
    await a_learner(rig).drain()
    assert sums_in(redis_server)["score_micro"] == 600_000


async def test_again_and_at_the_same_time_as_learning_changes_nothing_more(rig: Rig, redis_server: str) -> None:
    """Several at once, beside a learner that works on the same requests, end where one would."""
    await rated(rig, HONEST, count=5, score=0.7)
    await a_learner(rig).drain()
    without = sums_in(redis_server)
    await rated(rig, LIAR, count=200, score=0.1)
    await asyncio.gather(a_learner(rig).drain(), *(forgotten(rig, Selection(owner=LIAR)) for _ in range(3)))
    await a_learner(rig).drain()
    again = await forgotten(rig, Selection(owner=LIAR))
    assert (again.ratings, again.outcomes) == (0, 0)
    assert sums_in(redis_server) == without == ledgers_in(redis_server)


async def test_a_source_may_be_an_arm_or_a_time(rig: Rig) -> None:
    """Only what fits all that is given goes."""
    await rated(rig, LIAR, count=2, score=0.5, arm="a/one")
    rig.clock.advance(1000.0)
    await rated(rig, LIAR, count=3, score=0.5, arm="a/one")
    await rated(rig, LIAR, count=4, score=0.5, arm="b/two")
    await a_learner(rig).drain()
    done = await forgotten(rig, Selection(owner=LIAR, arm="a/one", since=rig.clock.now() - 10))
    assert (done.requests, done.ratings) == (3, 3)
    arms = (await rig.posteriors.load()).arms
    assert (arms["a/one"].total.labels, arms["b/two"].total.labels) == (2, 4)


async def test_the_command_takes_the_key_itself_or_its_hash(rig: Rig, redis_server: str) -> None:
    """It says what it did, never the key; without a source it refuses."""
    await rated(rig, LIAR, count=3, score=0.5)
    await rated(rig, HONEST, count=1, score=0.5)
    await a_learner(rig).drain()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.learner", "forget", *arguments]
        environment = {"REDIS_URL": redis_server, "PATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    first = await asyncio.to_thread(run, "--key", KEY)
    removed = "3 ratings, 3 outcomes and 0 evaluations removed from the learned state"
    assert first.stdout == f"3 requests: {removed}\n", first.stderr
    assert KEY not in first.stderr
    again = await asyncio.to_thread(run, "--key", LIAR)
    assert again.stdout.startswith("3 requests: 0 ratings")
    assert (await asyncio.to_thread(run)).returncode == 2
    assert (await rig.posteriors.load()).arms[ARM].total.labels == 1


async def test_redis_keys_of_strangers_do_not_stop_it(rig: Rig) -> None:
    """A damaged request is passed over."""
    await rig.raw.set(redis_keys.request("damaged"), "no hash")
    await rated(rig, LIAR, count=1, score=0.5)
    assert (await forgotten(rig, Selection(owner=LIAR))).requests == 1
