"""Contract of `History`, on the fake and on PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from shared.bandit.decision import Group, Weights
from shared.bandit.kinds import Kinds
from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.ports import History
from shared.schemas.events import EventKind
from shared.schemas.history import Contribution, PastRating, PastRequest, Waiting
from shared.schemas.records import Attempt, Status
from shared.schemas.storage import Assignment, NewRecord
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from tests.support.fakes.history import FakeHistory
from tests.support.kinds import same, some_kinds
from tests.support.sample_records import a_new_record, a_record, without_vector
from tests.support.values import replace

NOW = 1_795_000_000.123456


@pytest.fixture(params=["fake", "postgres"])
async def history(request: pytest.FixtureRequest) -> AsyncIterator[History]:
    if request.param == "fake":
        yield FakeHistory()
        return
    real = PostgresHistory(Settings(DATABASE_URL=request.getfixturevalue("database_url")))
    await real.prepare()
    yield real
    await real.close()


def rated(entry: NewRecord, revision: int = 1, score: float | None = 0.8, **facts: object) -> PastRating:
    values: dict[str, object] = {"text": None, "rated_at": NOW + revision, **facts}
    return PastRating(entry.record.id, revision, score, **values)  # type: ignore[arg-type]  # the facts are its own


async def write(
    history: History,
    requests: Sequence[NewRecord] = (),
    ratings: Sequence[PastRating] = (),
    ledger: Sequence[Contribution] = (),
) -> list[str]:
    """Write as the outbox hands out; return the ids of what was refused."""
    entries = [Waiting("1-1", entry.record.id, request=entry) for entry in requests]
    entries += [Waiting("1-2", rating.request_id, rating=rating) for rating in ratings]
    entries += [Waiting("1-3", each.request_id, contribution=each) for each in ledger]
    return [refused.request_id for refused in await history.write(entries)]


async def everything(history: History, since: float = 0.0, batch: int = 500) -> list[PastRequest]:
    return [past async for page in history.read(since=since, batch=batch) for past in page]


def a_full_story() -> NewRecord:
    """A request with everything that a record can hold, floats that need all their digits included."""
    record = a_record(NOW + 1 / 3, public_id="client-1", owner="k" * 16, cluster=(3, 7), cost_usd=0.1 + 0.2)
    view = replace(record.decision.views[0], rating_sd=0.3, cost_usd=None, latency_s=None, propensity=2 / 3)
    other = replace(view, arm="b/ünï", cost_usd=1e-9, latency_s=2.0, propensity=1 / 3)
    neighbours = tuple((str(uuid.uuid4()), 1 - n / 7, "a/b", n / 3, n / 9) for n in range(3))
    shadow = replace(record.decision, exploration="off", views=(view,), neighbours=neighbours)
    decision = replace(
        record.decision,
        ranked=(view.arm, other.arm),
        views=(view, other),
        neighbours=neighbours,
        weights=Weights(0.6, 0.2, -0.2),
        policy="p-1",
        snapshot="s",
        degraded=("qdrant", "redis"),
        session=True,
        exploration="spent",
        kind_size=13,
        kind_requests=12.5,
        kind_labels=1 / 3,
        nearness=0.75,
        examples=(str(uuid.uuid4()), "older"),
        group=Group.CONTROL,
        unfit=(("c/blind", "image", "known"), ("d/ünï", "context", "learned")),
        terms="cheap+request",
        searched=False,
    )
    attempts = (Attempt("a/b", "timeout", 1.5, spent=True, cost_usd=0.1), Attempt("b/ünï", None, 0.25, spent=False))
    outcome = replace(record.outcome, attempts=attempts, first_token_s=0.125, streamed=True, failed_checks=("cut",))
    vector = np.random.default_rng(1).normal(size=256).astype(np.float32)
    record = replace(record, decision=decision, outcome=outcome, requested_model="auto", settings_hash="abc")
    plan = EvaluationPlan(EvaluationReason.RACE, ("vendor/model-b",), 0.25, 0.0625)
    traits = ("system:5d2f00c2a1b7e94c", "json")
    record = replace(record, session="0a1b", shadow=shadow, traits=traits, evaluation_plan=plan, repeats="c/d")
    return NewRecord(record, vector, "What is this?")


async def test_what_was_written_is_read_bit_for_bit(history: History) -> None:
    """Record, vector, prompt and ratings come back as they were; so does a request that has none of them."""
    full, bare = a_full_story(), without_vector(a_new_record(NOW + 5, status=Status.FAILED, embedding_model=None))
    ratings = [rated(full, 2, 1 / 3, text="meh ünï"), rated(full, 1, 0.0), rated(bare), rated(full, 3, None)]
    assert await write(history, [full, bare], ratings) == []
    first, second = await everything(history)
    assert first.entry.record == full.record
    assert first.entry.record.to_json() == full.record.to_json()
    assert first.entry.prompt == "What is this?"
    assert first.entry.vector is not None
    assert first.entry.vector.dtype == np.float32
    np.testing.assert_array_equal(first.entry.vector, full.vector)
    assert first.ratings == (ratings[1], ratings[0], ratings[3])
    assert first.rating == ratings[3]
    assert second.entry.record == bare.record
    assert (second.entry.vector, second.entry.prompt) == (None, None)


async def test_an_unknown_cost_is_kept_as_unknown(history: History) -> None:
    """Of an answer and of a failed call; neither comes back as free."""
    entry = a_new_record(NOW)
    attempt = Attempt("a/b", "timeout", 1.0, spent=True, cost_usd=None)
    outcome = replace(entry.record.outcome, cost_usd=None, cost_source="unknown", attempts=(attempt,))
    await write(history, [replace(entry, record=replace(entry.record, outcome=outcome))], [])
    (past,) = await everything(history)
    assert (past.entry.record.outcome.cost_usd, past.entry.record.outcome.attempts[0].cost_usd) == (None, None)


async def test_writing_again_changes_nothing(history: History) -> None:
    """A batch whose acknowledgement was lost may come again, whole or in part."""
    entries = [a_new_record(NOW + at) for at in range(5)]
    ratings = [rated(entry) for entry in entries]
    await write(history, entries, ratings)
    await write(history, entries[2:], ratings[:3])
    await write(history, [replace(entries[0], prompt="another")], [])
    assert [past.entry.record for past in await everything(history)] == [entry.record for entry in entries]
    assert [past.ratings for past in await everything(history)] == [(rating,) for rating in ratings]
    assert (await everything(history))[0].entry.prompt is None
    assert await write(history, [], []) == []


async def test_a_rating_may_come_before_its_request(history: History) -> None:
    """It is kept, and found as soon as the request is there."""
    entry = a_new_record(NOW)
    await write(history, [], [rated(entry)])
    assert await everything(history) == []
    await write(history, [entry], [])
    (past,) = await everything(history)
    assert past.ratings == (rated(entry),)


async def test_of_a_ledger_the_newest_revision_stays(history: History) -> None:
    """What was learned last is kept whole, fields in their order; older news changes nothing, none at all is fine."""
    entry = a_new_record(NOW)
    outcome = Contribution(entry.record.id, EventKind.OUTCOME, 1, {"requests": 1, "failures|a/b": 2, "cost_nanousd": 3})
    first, second, third = (
        Contribution(entry.record.id, EventKind.FEEDBACK, at, {"labels": at, "score_micro": -(10**15) + at})
        for at in (1, 2, 3)
    )
    await write(history, [entry], [], [second])
    await write(history, [], [], [first, outcome])
    assert (await everything(history))[0].ledger == (second, outcome)
    await write(history, [], [], [third, replace(third, revision=4, sums={})])
    (past,) = await everything(history)
    assert past.contribution(EventKind.OUTCOME) == outcome
    assert list((past.contribution(EventKind.OUTCOME) or third).sums) == list(outcome.sums)
    assert past.contribution(EventKind.FEEDBACK) == replace(third, revision=4, sums={})
    # A Redis that lost its last second may apply a revision again, in another kind: what it did last counts.
    for at in (2, 11, 3):
        again = replace(outcome, sums={"requests": 1, f"requests@1.{at}": 1}, assigned=Assignment((1, at), 100 - at))
        await write(history, ledger=[outcome, again])
    (past,) = await everything(history)
    assert past.contribution(EventKind.OUTCOME) == again
    assert past.assigned == Assignment((1, 3), 97)


async def test_of_two_ratings_with_one_revision_the_later_stays(history: History) -> None:
    """A Redis that lost its last second gives a revision out again; one row, and it is what was said last."""
    entry = a_new_record(NOW)
    lost, last = rated(entry, 2, 0.1, rated_at=NOW + 1), rated(entry, 2, 0.9, rated_at=NOW + 2, text="again")
    for ratings in ([lost], [last, lost], [lost]):
        await write(history, [entry], ratings)
    assert (await everything(history))[0].ratings == (last,)


async def test_pages_hold_every_request_once_in_order(history: History) -> None:
    """Oldest first, those of one instant too, from `since` on."""
    times = [NOW + at // 3 for at in range(10)]
    entries = [a_new_record(at) for at in times]
    await write(history, entries[::-1], [])
    for batch in (1, 3, 100):
        found = await everything(history, batch=batch)
        assert [past.entry.record.created_at for past in found] == times
        assert {past.entry.record.id for past in found} == {entry.record.id for entry in entries}
    assert len(await everything(history, since=NOW + 2)) == await history.count(since=NOW + 2) == 4
    assert await history.count(since=0) == 10


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "\ud800", "ok \U0001f600"])
async def test_no_text_costs_a_row(history: History, text: str) -> None:
    """NUL and lone surrogates, which PostgreSQL has no room for, are replaced; everything else is as it was."""
    entry = a_new_record(NOW)
    await write(history, [entry], [rated(entry, text=text, score=0.25)])
    ((stored,),) = [past.ratings for past in await everything(history)]
    assert stored.score == 0.25
    assert stored.text is not None
    assert len(stored.text) == len(text)
    assert stored.text == text or {"\x00", "\ud800"} & set(text)


async def test_one_bad_row_keeps_no_other_out(history: History) -> None:
    """A lying upstream's token count fits no column: that request is named, all others are in."""
    entries = [a_new_record(NOW + at) for at in range(4)]
    outcome = replace(entries[1].record.outcome, prompt_tokens=2**63)
    bad = replace(entries[1], record=replace(entries[1].record, outcome=outcome))
    assert await write(history, [entries[0], bad, *entries[2:]], [rated(entries[3])]) == [bad.record.id]
    found = await everything(history)
    assert [past.entry.record.id for past in found] == [entries[at].record.id for at in (0, 2, 3)]
    assert len(found[2].ratings) == 1


async def test_many_writers_of_the_same_batch_leave_one_row_each(history: History) -> None:
    """Two learners may drain the same entries at the same time, in any order, without a deadlock."""
    entries = [a_new_record(NOW + at) for at in range(50)]
    ratings = [rated(entry) for entry in entries]
    ledger = [Contribution(entry.record.id, EventKind.OUTCOME, 1, {"requests": 1}) for entry in entries]
    steps = (1, -1, 1, -1)
    await asyncio.gather(*(write(history, entries[::step], ratings[::-step], ledger[::step]) for step in steps))
    assert await history.count(since=0) == 50
    assert all(len(past.ratings) == 1 for past in await everything(history))


async def test_settings_are_written_once(history: History) -> None:
    """Again they change nothing."""
    for _ in range(2):
        await history.save_settings("abc", {"exploration_rate": 0.1, "weights": {"cost": -0.2}})
    assert await history.old_clusters() is None


async def test_the_newest_snapshot_of_the_kinds_comes_back(history: History) -> None:
    """Bit for bit, whatever was saved last; one that was saved again stays as it is."""
    assert await history.kinds() is None
    saved: list[Kinds] = [some_kinds(number, 64, seed=number) for number in (1, 300, 120, 200, 80)]
    for kinds in (*saved, saved[0]):
        await history.save_kinds(kinds)
    assert saved[1].merged
    assert same(await history.kinds(), saved[1])


async def test_assignments_come_by_their_order(history: History) -> None:
    """Each request once, after a given order; those without a vector, an order or a stored request are left out."""
    entries = [a_new_record(NOW + at) for at in range(12)]
    traits = [("image",), ("json",), (), ("json", "script:Cyrl")] * 3
    entries = [
        replace(entry, record=replace(entry.record, traits=some)) for entry, some in zip(entries, traits, strict=True)
    ]
    orders = dict(zip([7, 3, 11, 2, 5, 13, 1, 19, 23, 17], entries, strict=False))
    ledger = [
        Contribution(entry.record.id, kind, 1, {"requests": 1}, Assignment((4, order % 3), order))
        for order, entry in orders.items()
        for kind in (EventKind.OUTCOME, EventKind.FEEDBACK)
    ]
    ledger.append(Contribution(entries[10].record.id, EventKind.OUTCOME, 1, {"requests": 1}))
    present = [without_vector(entry) if entry is orders[13] else entry for entry in entries if entry is not orders[5]]
    await write(history, present, (), ledger)
    expected = [7, 11, 17, 19, 23]
    for batch in (1, 2, 500):
        found = [each async for page in history.assignments(after=3, batch=batch) for each in page]
        assert [each.assigned for each in found] == [Assignment((4, order % 3), order) for order in expected]
        assert [each.request_id for each in found] == [orders[order].record.id for order in expected]
        assert [each.traits for each in found] == [orders[order].record.traits for order in expected]
        assert {each.embedding_model for each in found} == {"test-4"}
        np.testing.assert_array_equal(found[0].vector, orders[7].vector)
    past = {each.entry.record.id: each.assigned for each in await everything(history)}
    assert past[orders[23].record.id] == Assignment((4, 2), 23)
    assert past[entries[10].record.id] is None


async def test_preparing_concurrently_is_safe(history: History) -> None:
    """Two learners that start together, or one that starts again, harm nothing."""
    entry = a_new_record(NOW)
    await write(history, [entry], [])
    await asyncio.gather(*(history.prepare() for _ in range(5)))
    assert await history.count(since=0) == 1
