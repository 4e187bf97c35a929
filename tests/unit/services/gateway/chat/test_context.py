"""The context of a prompt: bounded in length and time, and nothing that is not a vector decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.gateway.chat.context import ContextGatherer, ContextLimits
from shared.metrics import GatewayMetrics
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.request_index import FakeRequestIndex

LIMITS = ContextLimits(0.5, 0.4, neighbours=3, threshold=0.7, recency_s=86_400.0, max_chars=10)


class NotFinite(FakeEmbedder):
    """An embedder whose vectors have the right shape, and a NaN inside."""

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        vectors = await super().embed(texts, within_s=within_s)
        vectors[0, 0] = np.nan
        return vectors


async def gatherer(embedder: FakeEmbedder, clock: FakeClock) -> ContextGatherer:
    metrics = GatewayMetrics(CollectorRegistry())
    made = ContextGatherer(embedder, FakeRequestIndex(), LIMITS, clock=clock, metrics=metrics)
    await made.prepare()
    return made


async def test_no_more_of_a_prompt_is_embedded_than_the_limit() -> None:
    """EMBED_MAX_CHARS bounds what goes to the embedder."""
    embedder = FakeEmbedder()
    await (await gatherer(embedder, FakeClock())).gather("0123456789 and more", with_neighbours=True)
    assert embedder.asked == ["0123456789"]


@pytest.mark.parametrize(("left_s", "within_s"), [(9.0, 0.5), (0.25, 0.25)])
async def test_the_embedder_has_no_more_time_than_the_request(left_s: float, within_s: float) -> None:
    """The shorter one of EMBED_TIMEOUT_MS and what is left until the deadline counts."""
    embedder, clock = FakeEmbedder(), FakeClock()
    deadline = clock.monotonic() + left_s
    await (await gatherer(embedder, clock)).gather("a prompt", with_neighbours=False, deadline=deadline)
    assert embedder.within_s == pytest.approx(within_s)


async def test_a_vector_that_is_not_finite_is_none() -> None:
    """The decision goes without context, and says so."""
    found = await (await gatherer(NotFinite(), FakeClock())).gather("a prompt", with_neighbours=True)
    assert (found.context.vector, found.degraded) == (None, ("embedder",))
