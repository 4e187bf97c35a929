"""Quotas: the charge of a request, its headers, and each gateway's share while Redis is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.http.auth import digest_of
from services.gateway.limits.quotas import answer_tokens, build_quotas, prompt_tokens, rate_limit_headers, refusal
from shared.bandit.arms import Price
from shared.errors import RateLimited, SettingsError
from shared.schemas.quota import Limit, Limits, Quota
from shared.settings import load_settings
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, chat, known, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

NANO = 1_000_000_000
LIMITS = {"RATE_LIMIT_RPM": "60", "RATE_LIMIT_TPM": "9000", "BUDGET_USD_PER_DAY": "2.5"}


def test_a_key_without_limits_is_not_counted() -> None:
    """No setting, no limit: nothing is estimated, sent to Redis, or returned."""
    assert build_quotas(load_settings({}, None), FakeClock()).charge("public", chat(), []) is None


def test_other_limits_for_some_keys() -> None:
    """By the beginning of the hash, the longest that fits; what is not named stays; 0 takes a limit away."""
    first, second, third = (digest_of(key)[:16] for key in ("one", "two", "three"))
    entries = f"{first}:rpm=5,{second[:8]}:tpm=0:usd=0.25,{second}:rpm=0:tpm=0:usd=0"
    quotas = build_quotas(load_settings({**LIMITS, "KEY_LIMITS": entries}, None), FakeClock())
    assert quotas.limits(third) == Limits(60, 9000, round(2.5 * NANO))
    assert quotas.limits(first) == Limits(5, 9000, round(2.5 * NANO))
    assert not quotas.limits(second)
    assert quotas.limits(second[:8] + "0" * 8) == Limits(60, 0, NANO // 4)


@pytest.mark.parametrize(
    "entry", ["abc:rpm=1", "0123456789:rpm", "0123456789", "0123456789:eur=1", "0123456789:usd=-1"]
)
def test_odd_limits_stop_the_start(entry: str) -> None:
    """One message that says what is wanted, and no entry is silently ignored."""
    with pytest.raises(SettingsError, match=r"KEY_LIMITS.*hash:rpm=60"):
        load_settings({"KEY_LIMITS": entry}, None)


def test_a_charge_covers_the_dearest_answer() -> None:
    """Prompt by its length, answer by what the client allows or a usual length, times `n`, at the highest price."""
    quotas = build_quotas(load_settings(LIMITS, None), FakeClock())
    asked = chat("x" * 4000, max_tokens=500, n=2)
    paid = quotas.charge("public", asked, [Price(1e-7, 1e-7), None, Price(1e-6, 1e-5)])
    assert paid is not None
    assert paid.tokens == 1001 + 1000
    assert paid.nano_usd == round((1001 * 1e-6 + 1000 * 1e-5) * NANO)
    assert answer_tokens({"messages": []}) > 0
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    assert prompt_tokens({"messages": [{"role": "user", "content": [image, {"type": "text", "text": "x"}]}]}) > 500
    assert prompt_tokens({"messages": [], "tools": [{"type": "function", "function": {"name": "f" * 400}}]}) > 100


def test_the_caller_gets_what_is_left_and_the_time_to_retry() -> None:
    """OpenAI's headers; a spent budget is not worth a second try today."""
    quota = Quota(Limits(60, 9000, 2 * NANO), requests=59.2, tokens=8100.5, spent=NANO // 2)
    headers = rate_limit_headers(quota, 86_400.0 * 7 + 3600)
    assert headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "0.8s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "8100",
        "x-ratelimit-reset-tokens": "5.997s",
        "x-ratelimit-limit-usd": "2",
        "x-ratelimit-remaining-usd": "1.5",
        "x-ratelimit-reset-usd": "82800s",
    }
    spent = Quota(Limits(nano_usd=NANO), 0, 0, spent=2 * NANO, refused=Limit.BUDGET)
    assert rate_limit_headers(spent, 0)["x-ratelimit-remaining-usd"] == "0"
    assert rate_limit_headers(spent, 0)["x-should-retry"] == "false"
    error = refusal(spent, 86_400.0 - 90)
    assert (error.code, error.retry_after_s) == ("insufficient_quota", 90)
    slow = refusal(Quota(Limits(tokens=600), 0, -100, 0, Limit.TOKENS), 0)
    assert (slow.code, slow.retry_after_s) == ("rate_limit_exceeded", 10)


async def test_without_redis_a_gateway_gives_out_its_share(tmp_path: Path) -> None:
    """Never unlimited, never nothing: a third of the requests, then 429, then as many as a third gives back."""
    world = World(settings_for(tmp_path, RATE_LIMIT_RPM=9, ASSUMED_GATEWAYS=3))
    async with world.gateway() as gateway:
        world.memory.away = True
        for _ in range(3):
            await complete(await route(chat(), new_request(), gateway), gateway)
        with pytest.raises(RateLimited):
            await route(chat(), new_request(), gateway)
    share = build_quotas(load_settings({"BUDGET_USD_PER_DAY": "0.000000001"}, None), FakeClock())
    paid = share.charge("public", chat(), [Price(1, 1)])
    assert paid is not None
    assert share.without_redis("public", paid).refused is None
    assert share.without_redis("public", paid).refused is Limit.BUDGET


def test_without_redis_a_share_comes_back_within_a_minute() -> None:
    """A sixth of a limit of 12 in ten seconds, and never more than the limit."""
    clock = FakeClock()
    quotas = build_quotas(load_settings({"RATE_LIMIT_RPM": "12", "ASSUMED_GATEWAYS": "1"}, None), clock)

    def taken() -> int:
        paid = quotas.charge("public", chat(), [])
        assert paid is not None
        return next(number for number in range(100) if quotas.without_redis("public", paid).refused is not None)

    left = [taken()]
    for passed_s in (10, 3600):
        clock.advance(passed_s)
        left.append(taken())
    assert left == [12, 2, 12]


async def test_what_was_spent_without_redis_is_in_the_record(tmp_path: Path) -> None:
    """So that the budget in Redis knows of it when the record arrives there."""
    world = World(settings_for(tmp_path, BUDGET_USD_PER_DAY=1))
    async with world.gateway() as gateway:
        world.memory.away = True
        plan = await route(chat(), new_request(), gateway)
        done = await complete(plan, gateway)
        assert plan.charge is not None
        spent = gateway.quotas.without_redis("public", plan.charge).spent
        assert spent == plan.charge.nano_usd + round(known(done.served.outcome.cost_usd) * NANO)
        world.memory.away = False
        await gateway.record_writer.replay()
    (record,) = world.records
    assert record.toll is not None
    assert (record.toll.tokens, record.toll.nano_usd) == (None, 0)
