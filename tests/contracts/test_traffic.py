"""Contract of `Traffic`, on the fake and on Redis: what requests and scores add to the figures."""

from __future__ import annotations

import pytest

from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.evaluation import Candidate, Evaluation
from shared.schemas.figures import duration_class
from shared.schemas.records import Status
from shared.schemas.storage import RatingTerms
from shared.schemas.traffic import TrafficBounds
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.redis_connection import connect
from shared.storage.redis_requests import RedisRequestLog
from shared.storage.redis_traffic import RedisTraffic
from tests.contracts.test_evaluation_queue import a_task
from tests.support.redis_rig import WINDOW_S, Rig
from tests.support.sample_records import ARM, a_new_record, a_record

OTHER = "vendor/model-b|c"


async def figures(rig: Rig, created_at: float) -> dict[str, int]:
    """Return the figures of that minute; those of its hour are the same."""
    await rig.traffic.store()
    before, minute = await rig.traffic.minutes(int(created_at // 60) - 1, 2)
    (hour,) = await rig.traffic.hours(int(created_at // 3600), 1)
    assert before == {}
    assert hour == minute
    return dict(minute)


async def rate(rig: Rig, public_id: str, score: float, source: Source = Source.USER) -> None:
    now, terms = rig.clock.now(), RatingTerms(source=source)
    await rig.log.rate(owner="public", public_id=public_id, score=score, text=None, now=now, terms=terms)


async def test_requests_add_up_by_model(rig: Rig) -> None:
    """Each once, also when it is stored again."""
    now = rig.clock.now()
    entries = [a_new_record(now), a_new_record(now), a_new_record(now, arm=OTHER, status=Status.FAILED)]
    await rig.log.record(entries)
    await rig.log.record(entries[:1])
    found = await figures(rig, now)
    assert {name: found[name] for name in found if name.startswith(("requests", "failed", "cost", "prompt"))} == {
        f"requests|{ARM}": 2, f"prompt_tokens|{ARM}": 24, f"cost_nano|{ARM}": 4_000_000,
        f"requests|{OTHER}": 1, f"failed|{OTHER}": 1, f"prompt_tokens|{OTHER}": 12, f"cost_nano|{OTHER}": 2_000_000,
    }  # fmt: skip
    assert found[f"overhead:{duration_class(0.004)}|{ARM}"] == 2
    assert found[f"upstream:{duration_class(1.25)}|{ARM}"] == 2


async def test_scores_count_when_their_request_was_made(rig: Rig) -> None:
    """By source; a revised score replaces the first, the same one again changes nothing."""
    made = rig.clock.now()
    await rig.log.record([a_new_record(made, public_id="x")])
    rig.clock.advance(120)
    for score, source in ((0.3, Source.USER), (0.9, Source.USER), (0.9, Source.USER), (0.25, Source.EVAL)):
        await rate(rig, "x", score, source)
    found = await figures(rig, made)
    assert {name: value for name, value in found.items() if name.startswith(("scores", "micro"))} == {
        f"scores:user|{ARM}": 1, f"micro:user|{ARM}": 900_000, f"scores:eval|{ARM}": 1, f"micro:eval|{ARM}": 250_000,
    }  # fmt: skip


async def test_a_score_before_its_record_counts_with_it(rig: Rig) -> None:
    """Only then the model is known."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.reserve(owner="public", public_id="x", own_id=entry.record.id)
    await rate(rig, "x", 0.2)
    await rate(rig, "x", 0.4)
    await rig.log.record([entry])
    found = await figures(rig, entry.record.created_at)
    assert (found[f"scores:user|{ARM}"], found[f"micro:user|{ARM}"]) == (1, 400_000)


async def test_the_judges_score_of_the_served_answer_counts(rig: Rig) -> None:
    """Once, when the evaluation is stored; other models' answers reached no client."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    task = a_task(rig, entry.record.id)
    await rig.evaluations.submit(task, budget_nano_usd=10**12, most_waiting=10)
    (queued,) = await rig.evaluations.read("one", 10)
    candidates = (Candidate(OTHER, served=False, score=0.1), Candidate(ARM, served=True, score=0.75))
    result = Evaluation("judge", "rubric", rig.clock.now(), candidates)
    assert await rig.evaluations.finish(queued, result)
    assert not await rig.evaluations.finish(queued, result)
    found = await figures(rig, entry.record.created_at)
    assert (found[f"scores:judge|{ARM}"], found[f"micro:judge|{ARM}"]) == (1, 750_000)
    assert not any(name.endswith(f"|{OTHER}") for name in found)


async def test_spending_adds_up_by_owner_and_day(rig: Rig) -> None:
    """A day without requests is empty."""
    now = rig.clock.now()
    await rig.log.record([a_new_record(now, owner="a"), a_new_record(now, owner="a"), a_new_record(now, owner="b")])
    await rig.traffic.store()
    spent, nothing = await rig.traffic.spending([utc_day(now), "2020-01-01"])
    assert nothing == {}
    assert spent == {
        "requests|a": 2, "prompt_tokens|a": 24, "completion_tokens|a": 68, "cost_nano|a": 4_000_000,
        "requests|b": 1, "prompt_tokens|b": 12, "completion_tokens|b": 34, "cost_nano|b": 2_000_000,
    }  # fmt: skip


async def test_figures_expire_and_can_be_off(rig: Rig) -> None:
    """Minutes after a day, hours and days after the setting's time; with 0 days there are none."""
    if rig.raw is None:
        pytest.skip("in the fake nothing expires")
    now = rig.clock.now()
    keys = (redis_keys.minute(int(now // 60)), redis_keys.hour(int(now // 3600)), redis_keys.spend(utc_day(now)))
    for days, lifetimes in ((3, [90_000, 3 * 86_400, 3 * 86_400]), (0, [-2, -2, -2])):
        await rig.raw.flushall()
        bounds = TrafficBounds(days=days)
        traffic = RedisTraffic(rig.raw, days=days)
        rig.log = RedisRequestLog(rig.raw, window_s=WINDOW_S, clock=rig.clock, traffic=bounds, count=traffic.count)
        await rig.log.record([a_new_record(now, public_id="x")])
        await traffic.store()
        assert [await rig.raw.ttl(key) for key in keys] == [pytest.approx(each, abs=5) for each in lifetimes]
        await rig.raw.delete(*keys[:2])
        await rate(rig, "x", 0.5)
        assert [await rig.raw.ttl(key) for key in keys] == [pytest.approx(each, abs=5) for each in lifetimes]


async def test_damaged_figures_keep_no_record_and_no_rating_out(rig: Rig) -> None:
    """They are shown as empty."""
    if rig.raw is None:
        pytest.skip("nothing of the fake is damaged")
    now = rig.clock.now()
    for key in (redis_keys.minute(int(now // 60)), redis_keys.hour(int(now // 3600)), redis_keys.spend(utc_day(now))):
        await rig.raw.set(key, "damaged")
    await rig.log.record([a_new_record(now, public_id="x")])
    await rate(rig, "x", 0.5)
    found = await rig.log.find(owner="public", public_id="x")
    assert found is not None
    assert found.rating is not None
    assert await figures(rig, now) == {}
    assert await rig.traffic.spending([utc_day(now)]) == [{}]


async def test_figures_survive_an_outage_of_redis(rig: Rig) -> None:
    """What could not be added is added the next time, once."""
    if rig.raw is None:
        pytest.skip("the fake computes them from what is stored")
    now, client = rig.clock.now(), connect(Settings(REDIS_URL="redis://127.0.0.1:1/0"))
    traffic = RedisTraffic(client)
    traffic.count(a_record(now))
    for _ in range(2):
        with pytest.raises(DependencyError):
            await traffic.store()
    traffic._client = rig.raw
    for _ in range(2):
        await traffic.store()
    assert (await figures(rig, now))[f"requests|{ARM}"] == 1
    (spent,) = await rig.traffic.spending([utc_day(now)])
    assert spent["requests|public"] == 1


async def test_figures_of_several_gateways_add_up(rig: Rig) -> None:
    """Each adds its own."""
    if rig.raw is None:
        pytest.skip("the fake is one gateway")
    now = rig.clock.now()
    for _ in range(2):
        traffic = RedisTraffic(rig.raw)
        traffic.count(a_record(now))
        await traffic.store()
    assert (await figures(rig, now))[f"requests|{ARM}"] == 2
