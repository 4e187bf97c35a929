"""The micro-batcher and callers that leave: the loop lives, neighbours are served, places are freed."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from services.embedder.micro_batcher import MicroBatcher
from shared.errors import Unavailable
from tests.support.batching import batching, hold, until
from tests.support.encoders import GatedEncoder, row_of


@pytest.fixture
def encoder() -> GatedEncoder:
    return GatedEncoder()


async def test_a_caller_cancelled_in_the_queue_frees_its_place(encoder: GatedEncoder) -> None:
    """Texts of cancelled callers are never encoded, and do not count against the limit."""
    async with batching(encoder, queue=2) as batcher:
        held = await hold(encoder, batcher)
        for attempt in range(100):
            gone = asyncio.create_task(batcher.embed([f"{attempt} a", f"{attempt} b"]))
            await asyncio.sleep(0)
            assert len(batcher) == 2
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert len(batcher) == 0
        encoder.gate.set()
        await held
        await batcher.embed(["wanted"])
    assert encoder.seen == ["holds the worker", "wanted"]


@pytest.mark.parametrize("when", ["queued", "running"])
async def test_a_cancelled_caller_does_not_take_a_shared_text_with_it(encoder: GatedEncoder, when: str) -> None:
    """Two callers wait for one text; one leaves; the other is served."""
    async with batching(encoder) as batcher:
        held = await hold(encoder, batcher) if when == "queued" else None
        encoder.gate.clear()
        leaves = asyncio.create_task(batcher.embed(["shared"]))
        stays = asyncio.create_task(batcher.embed(["shared"]))
        await until(lambda: len(batcher) == 1 if when == "queued" else "shared" in encoder.seen)
        leaves.cancel()
        await asyncio.sleep(0.01)
        assert leaves.cancelled()
        encoder.gate.set()
        async with asyncio.timeout(5):
            np.testing.assert_array_equal(await stays, [row_of("shared")])
        if held is not None:
            await held


async def test_the_loop_outlives_a_pass_all_of_whose_callers_have_gone(encoder: GatedEncoder) -> None:
    """Cancelling every caller of the pass in progress leaves a working batcher."""
    async with batching(encoder) as batcher:
        encoder.gate.clear()
        tasks = [asyncio.create_task(batcher.embed([f"gone {n}"])) for n in range(5)]
        await until(lambda: bool(encoder.batches))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        encoder.gate.set()
        async with asyncio.timeout(5):
            np.testing.assert_array_equal(await batcher.embed(["next"]), [row_of("next")])


@pytest.mark.parametrize("seed", range(8))
async def test_no_storm_of_cancellations_and_errors_affects_other_callers(encoder: GatedEncoder, seed: int) -> None:
    """400 callers with shared texts, a third cancelled at random moments, some of them poisonous: every other one gets
    exactly its rows or its pass's error, and at the end nothing waits."""
    dice = random.Random(seed)

    def some_text() -> str:
        return "explode" if dice.random() < 0.01 else f"text {dice.randrange(120)}"

    async def call(batcher: MicroBatcher) -> tuple[list[str], object]:
        texts = [some_text() for _ in range(dice.randrange(1, 6))]
        await asyncio.sleep(dice.random() * 0.05)
        try:
            return texts, await batcher.embed(texts)
        except (RuntimeError, Unavailable) as error:
            return texts, error

    async def cancel_sometime(task: asyncio.Task[tuple[list[str], object]]) -> None:
        await asyncio.sleep(dice.random() * 0.06)
        task.cancel()

    async with batching(encoder, size=7, wait_s=0.001, queue=300, cache=dice.choice([0, 30])) as batcher:
        tasks = [asyncio.create_task(call(batcher)) for _ in range(400)]
        killers = [asyncio.create_task(cancel_sometime(task)) for task in dice.sample(tasks, 130)]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*killers)
        served = 0
        for outcome in outcomes:
            if isinstance(outcome, asyncio.CancelledError):
                continue
            assert not isinstance(outcome, BaseException), outcome
            texts, answer = outcome
            if isinstance(answer, np.ndarray):
                np.testing.assert_array_equal(answer, np.array([row_of(text) for text in texts]))
                served += 1
        assert served > 150
        assert len(batcher) == 0
        np.testing.assert_array_equal(await batcher.embed(["still alive"]), [row_of("still alive")])


async def test_a_batch_loop_that_breaks_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers whose batch was in hand get an error at once; the next are served."""
    encoder = GatedEncoder()
    async with batching(encoder) as batcher:
        run = batcher._run

        async def breaks() -> None:
            monkeypatch.setattr(batcher, "_run", run)
            raise ZeroDivisionError

        holding = await hold(encoder, batcher)
        monkeypatch.setattr(batcher, "_run", breaks)
        lost = asyncio.create_task(batcher.embed(["lost"]))
        await asyncio.sleep(0.01)
        encoder.gate.set()
        await holding
        with pytest.raises(Unavailable):
            await asyncio.wait_for(lost, 5)
        assert len(await asyncio.wait_for(batcher.embed(["served"]), 5)) == 1
