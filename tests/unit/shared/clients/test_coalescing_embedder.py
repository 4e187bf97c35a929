"""`CoalescingEmbedder`: concurrent callers share calls, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.clients.embedder_client import SHORT_CHARS, CoalescingEmbedder
from shared.errors import DependencyError
from shared.resilience import coalescer
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.embedder import FakeEmbedder

TIMEOUT_S = 1.0
QUICK_S, SLOW_S = 0.0001, 0.02


class Noting(FakeEmbedder):
    """Records the texts of each call, which takes `takes_s` by the test's own clock: a busy machine is not slow."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.takes_s = QUICK_S
        self.calls: list[list[str]] = []
        self.under_way = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        self.under_way.set()
        await self.go_on.wait()
        self.clock.advance(self.takes_s)
        return await super().embed(texts, within_s=within_s)


@pytest.fixture
async def noting(monkeypatch: pytest.MonkeyPatch) -> Noting:
    clock = FakeClock()
    monkeypatch.setattr(coalescer, "time", clock)
    return Noting(clock)


async def measured(noting: Noting) -> CoalescingEmbedder:
    """Return a coalescing embedder that has measured one call; the next calls last until `go_on`."""
    embedder = CoalescingEmbedder(noting, TIMEOUT_S)
    await embedder.embed(["how long does it take?"])
    noting.calls.clear()
    noting.under_way.clear()
    noting.go_on.clear()
    return embedder


async def waiting(
    embedder: CoalescingEmbedder, noting: Noting, texts: Sequence[str]
) -> list[asyncio.Task[NDArray[np.float32]]]:
    """Embed each text by a caller of its own; the call for the first text is in flight before the others come."""
    tasks = [asyncio.create_task(embedder.embed([texts[0]]))]
    await noting.under_way.wait()
    tasks += [asyncio.create_task(embedder.embed([text])) for text in texts[1:]]
    await asyncio.sleep(0)
    return tasks


async def test_texts_that_come_during_a_call_share_the_next_one(noting: Noting) -> None:
    """Each caller gets the vector of its own text."""
    embedder = await measured(noting)
    texts = ["one apple", "two pears", "three cherries", "vier Äpfel"]
    tasks = await waiting(embedder, noting, texts)
    noting.go_on.set()
    rows = await asyncio.gather(*tasks)
    assert noting.calls == [texts[:1], texts[1:]]
    alone = await FakeEmbedder().embed(texts)
    np.testing.assert_array_equal(np.concatenate(rows), alone)


async def test_a_call_that_hangs_does_not_delay_the_next(noting: Noting) -> None:
    """After a few milliseconds the next call goes out beside it."""
    embedder = await measured(noting)
    tasks = await waiting(embedder, noting, ["hangs", "b", "c"])
    noting.under_way.clear()
    await asyncio.wait_for(noting.under_way.wait(), 30)
    assert noting.calls == [["hangs"], ["b", "c"]]
    noting.go_on.set()
    await asyncio.gather(*tasks)


async def test_a_cancelled_caller_does_not_affect_others(noting: Noting) -> None:
    """Neither one cancelled before its text is sent, nor one cancelled while its call is in flight."""
    embedder = await measured(noting)
    first, early, late, stays = await waiting(embedder, noting, ["first", "early", "late", "stays"])
    early.cancel()
    noting.under_way.clear()
    await asyncio.wait_for(noting.under_way.wait(), 30)
    late.cancel()
    await asyncio.sleep(0)
    noting.go_on.set()
    assert (await stays).shape == (1, 256)
    await first
    assert noting.calls == [["first"], ["late", "stays"]]


async def test_all_callers_of_a_failed_call_get_its_error(noting: Noting) -> None:
    """The next call is made as usual."""
    embedder = await measured(noting)
    tasks = await waiting(embedder, noting, ["a", "b", "c"])
    noting.error = DependencyError("embedder", "away")
    noting.go_on.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, DependencyError)
    noting.error = None
    assert (await embedder.embed(["d"])).shape == (1, 256)


@pytest.mark.parametrize(
    ("text", "within_s"), [("long " * SHORT_CHARS, None), ("half a pair \ud800", None), ("hurried", TIMEOUT_S / 2)]
)
async def test_a_text_that_would_harm_others_is_sent_alone(noting: Noting, text: str, within_s: float | None) -> None:
    """A long text, one that cannot be encoded, and one whose caller has less time than the others."""
    embedder = await measured(noting)
    tasks = await waiting(embedder, noting, ["first"])
    alone = asyncio.create_task(embedder.embed([text], within_s=within_s))
    await asyncio.sleep(0)
    assert noting.calls == [["first"], [text]]
    noting.go_on.set()
    await asyncio.gather(*tasks)
    await asyncio.gather(alone, return_exceptions=True)  # an embedder refuses what cannot be encoded


async def test_a_slow_model_gets_each_text_in_its_own_call(noting: Noting) -> None:
    """Together the texts would be late."""
    noting.takes_s = SLOW_S
    embedder = await measured(noting)
    tasks = await waiting(embedder, noting, ["a", "b", "c"])
    assert noting.calls == [["a"], ["b"], ["c"]]
    noting.go_on.set()
    await asyncio.gather(*tasks)
