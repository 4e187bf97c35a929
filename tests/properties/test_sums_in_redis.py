"""However events come, the sums are those of one clean pass: on the fake, and on the real script."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bandit.learning import score_sums
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import Applied, Effect
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import Rig, fake_rig, redis_rig
from tests.support.sample_records import a_new_record

ARMS = ("vendor/model-a", "vendor/model-b")
DAYS = (0, 1)


@dataclass(frozen=True)
class Arrival:
    """One event of one request, as it comes out of the stream."""

    request: int
    kind: EventKind
    source: Source
    revision: int


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Every event of some requests at least once, some twice or thrice, in any order."""
    revisions = draw(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=5)
    )
    clean = [
        Arrival(request, kind, source, revision)
        for request, (rated, scored, evaluated) in enumerate(revisions)
        for kind, source, count in (
            (EventKind.OUTCOME, Source.USER, 1),
            (EventKind.FEEDBACK, Source.USER, rated),
            (EventKind.FEEDBACK, Source.EVAL, scored),
            (EventKind.EVALUATION, Source.USER, evaluated),
        )
        for revision in range(1, count + 1)
    ]
    twice = draw(st.lists(st.sampled_from(clean), max_size=10))
    return draw(st.permutations(clean + twice))


def sums_of(arrival: Arrival) -> dict[str, int]:
    """A contribution of its own for each event, with a field that not every revision has."""
    if arrival.kind is EventKind.OUTCOME:
        elsewhere = {f"failures|{ARMS[arrival.request // 2 % 2]}": 1}
        return {"requests": 1, "latency_us": 1_000_003 * (arrival.request + 1), "cost_nanousd": 10**11 + 7} | elsewhere
    if arrival.kind is EventKind.EVALUATION:
        return score_sums(source=Source.JUDGE, score=0.25, kind=None) | {"shadows|a/b": 1, "latency_us|a/b": 7}
    if arrival.source is not Source.USER:
        return score_sums(source=arrival.source, score=arrival.revision / 7, kind=(1, 2), weight=1 / 3)
    # Zero among them: a score of 0, and one so small that its square is 0.
    score = (0, 400, 131_071, 999_999, 500_000)[(arrival.request + arrival.revision) % 5]
    gain = {"local_gain_micro": -score // 3} if arrival.revision % 2 else {}
    return {"labels": 1, "score_micro": score, **gain}


async def play(rig: Rig, order: list[Arrival], batch: int) -> tuple[dict[str, ArmSums], list[Applied]]:
    """Record the requests, then apply in this order; return what was learned."""
    number = 1 + max(arrival.request for arrival in order)
    now = rig.clock.now()
    entries = [
        a_new_record(now - 86_400.0 * DAYS[request // 2 % 2], arm=ARMS[request % 2]) for request in range(number)
    ]
    await rig.log.record(entries)
    effects = []
    for arrival in order:
        record = entries[arrival.request].record
        event = Event("0-1", arrival.kind, record.id, arrival.revision, score=0.5, source=arrival.source)
        effects.append(Effect(event, record.outcome.arm, record.created_at, sums_of(arrival)))
    answers: list[Applied] = []
    for at in range(0, len(effects), batch):
        answers += await rig.posteriors.apply(effects[at : at + batch])
    return dict((await rig.posteriors.load()).arms), answers


def clean_pass(order: list[Arrival]) -> list[Arrival]:
    """Each outcome once, and of each request's ratings the last."""
    last = {(a.request, a.kind, a.source): a for a in sorted(order, key=lambda a: a.revision)}
    return list(last.values())


@given(order=arrivals(), batch=st.integers(1, 7))
@settings(max_examples=150, deadline=None)
async def test_any_order_gives_the_sums_of_a_clean_pass_on_the_fake(order: list[Arrival], batch: int) -> None:
    """Duplicates, reorderings and revisions leave no trace."""
    learned, answers = await play(fake_rig(), order, batch)
    clean, once = await play(fake_rig(), clean_pass(order), 100)
    assert learned == clean
    assert set(once) == {Applied.APPLIED}
    assert Counter(answers)[Applied.APPLIED] >= len(once)


@given(order=arrivals(), batch=st.integers(1, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_gives_the_sums_of_a_clean_pass_on_the_real_script(
    redis_server: str, order: list[Arrival], batch: int
) -> None:
    """The script answers as the fake does, event by event, and ends in the same sums, equal to the ledgers'."""
    async with redis_rig(redis_server) as rig:
        learned, answers = await play(rig, order, batch)
    expected, expected_answers = await play(fake_rig(), order, batch)
    assert learned == expected
    assert answers == expected_answers
    assert sums_in(redis_server) == ledgers_in(redis_server)
