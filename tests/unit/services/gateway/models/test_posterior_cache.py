"""The posterior cache: when the learned state counts as stale."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import STALE_S, PosteriorCache
from shared.bandit.build import build_policy
from shared.bandit.policy import BanditSettings
from shared.metrics import GatewayMetrics
from tests.support.fakes.chat_model import FakeChatModel
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import lists_of
from tests.support.fakes.posterior_store import FakePosteriorStore


async def test_a_state_is_stale_until_it_was_read_and_when_it_is_old() -> None:
    """Decisions without it, or with an old one, are marked as degraded."""
    clock = FakeClock()
    cache = PosteriorCache(
        FakePosteriorStore(),
        Catalogue(lists_of(FakeChatModel(), clock), models=("a/b",), default="a/b"),
        build_policy,
        BanditSettings(),
        clock=clock,
        metrics=GatewayMetrics(CollectorRegistry()),
        load_timeout_s=1.0,
    )
    seen = [cache.stale]
    await cache.refresh()
    for passed_s in (0.0, STALE_S - 0.1, 0.2):
        clock.advance(passed_s)
        seen.append(cache.stale)
    await cache.refresh()
    assert [*seen, cache.stale] == [True, False, False, True, False]
