"""`CoalescingEmbedder`: concurrent callers share calls, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.clients.embedder_client import SHORT_CHARS, CoalescingEmbedder
from shared.errors import DependencyError
from tests.support.fakes.embedder import FakeEmbedder

TIMEOUT_S = 1.0


class Noting(FakeEmbedder):
    """Notes the texts of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.under_way = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        self.under_way.set()
        await self.go_on.wait()
        return await super().embed(texts, within_s=within_s)


@pytest.fixture
async def noting() -> Noting:
    return Noting()


async def joined(noting: Noting) -> CoalescingEmbedder:
    """Return one that knows how quick its embedder is, with a call under way until `go_on`."""
    embedder = CoalescingEmbedder(noting, TIMEOUT_S)
    await embedder.embed(["how long does it take?"])
    noting.calls.clear()
    noting.under_way.clear()
    noting.go_on.clear()
    return embedder


async def waiting(
    embedder: CoalescingEmbedder, noting: Noting, texts: Sequence[str]
) -> list[asyncio.Task[NDArray[np.float32]]]:
    """Ask for each text by itself, the first before the others."""
    tasks = [asyncio.create_task(embedder.embed([texts[0]]))]
    await noting.under_way.wait()
    tasks += [asyncio.create_task(embedder.embed([text])) for text in texts[1:]]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_call_goes_out_in_one(noting: Noting) -> None:
    """And each caller gets its own text's vector."""
    embedder = await joined(noting)
    texts = ["one apple", "two pears", "three cherries", "vier Äpfel"]
    tasks = await waiting(embedder, noting, texts)
    noting.go_on.set()
    rows = await asyncio.gather(*tasks)
    assert noting.calls == [texts[:1], texts[1:]]
    alone = await FakeEmbedder().embed(texts)
    np.testing.assert_array_equal(np.concatenate(rows), alone)


async def test_nobody_waits_long_for_a_call_that_hangs(noting: Noting) -> None:
    """After a few milliseconds the next one goes out beside it."""
    embedder = await joined(noting)
    tasks = await waiting(embedder, noting, ["hangs", "b", "c"])
    noting.under_way.clear()
    await asyncio.wait_for(noting.under_way.wait(), TIMEOUT_S)
    assert noting.calls == [["hangs"], ["b", "c"]]
    noting.go_on.set()
    await asyncio.gather(*tasks)


async def test_who_leaves_takes_nobody_along(noting: Noting) -> None:
    """Neither before its text goes out nor while it is under way."""
    embedder = await joined(noting)
    first, early, late, stays = await waiting(embedder, noting, ["first", "early", "late", "stays"])
    early.cancel()
    noting.under_way.clear()
    await asyncio.wait_for(noting.under_way.wait(), TIMEOUT_S)
    late.cancel()
    await asyncio.sleep(0)
    noting.go_on.set()
    assert (await stays).shape == (1, 256)
    await first
    assert noting.calls == [["first"], ["late", "stays"]]


async def test_a_failure_is_told_to_all_of_its_call(noting: Noting) -> None:
    """And the next call is made as ever."""
    embedder = await joined(noting)
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
async def test_what_would_harm_the_others_goes_alone(noting: Noting, text: str, within_s: float | None) -> None:
    """A long text, one that cannot be sent, and one whose caller has less time than they."""
    embedder = await joined(noting)
    tasks = await waiting(embedder, noting, ["first"])
    alone = asyncio.create_task(embedder.embed([text], within_s=within_s))
    await asyncio.sleep(0)
    assert noting.calls == [["first"], [text]]
    noting.go_on.set()
    await asyncio.gather(*tasks, alone)


async def test_a_slow_model_is_asked_for_each_text(noting: Noting) -> None:
    """Its texts would be late together."""
    noting.delay_s = 0.02
    embedder = await joined(noting)
    tasks = await waiting(embedder, noting, ["a", "b", "c"])
    assert noting.calls == [["a"], ["b"], ["c"]]
    noting.go_on.set()
    await asyncio.gather(*tasks)
