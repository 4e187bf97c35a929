"""The micro-batcher: each caller gets its rows, even if others are cancelled, fail or are too many."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from services.embedder.micro_batcher import MicroBatcher
from shared.errors import Unavailable
from tests.support.batching import batching, hold, until
from tests.support.encoders import GatedEncoder, row_of


@pytest.fixture
def encoder() -> GatedEncoder:
    return GatedEncoder()


async def test_every_caller_gets_the_rows_of_its_own_texts_in_its_own_order(encoder: GatedEncoder) -> None:
    """Batching mixes callers, never their answers; no pass is larger than the limit."""
    async with batching(encoder, size=8) as batcher:
        asked = [[f"{caller} {n}" for n in range(caller % 20 + 1)] for caller in range(50)]
        answers = await asyncio.gather(*(batcher.embed(texts) for texts in asked))
        for texts, rows in zip(asked, answers, strict=True):
            np.testing.assert_array_equal(rows, np.array([row_of(text) for text in texts]))
    assert max(map(len, encoder.batches)) <= 8
    assert len(encoder.batches) < len(encoder.seen), "nothing was batched"


async def test_encoding_happens_in_one_thread_that_is_not_the_event_loops(encoder: GatedEncoder) -> None:
    """A model need not be thread-safe, and the loop goes on turning while it computes."""
    async with batching(encoder) as batcher:
        held = await hold(encoder, batcher)
        turns = 0
        started = time.monotonic()
        while turns < 1000:
            await asyncio.sleep(0)
            turns += 1
        assert time.monotonic() - started < 2
        encoder.gate.set()
        await held
        await asyncio.gather(*(batcher.embed([str(n)]) for n in range(20)))
    assert len(encoder.threads) == 1
    assert threading.get_ident() not in encoder.threads


async def test_a_pass_is_done_on_the_event_loop_only_where_the_encoder_says_that_it_is_short(
    encoder: GatedEncoder,
) -> None:
    """A thread costs more than a few characters, and a long pass would keep every other request waiting."""
    encoder.quick_chars = 10
    async with batching(encoder) as batcher:
        await asyncio.gather(batcher.embed(["five5"]), batcher.embed(["5five"]))
        assert encoder.threads == {threading.get_ident()}
        encoder.threads.clear()
        await batcher.embed(["eleven char"])
        await batcher.embed(["five5", "5five", "!"])
    assert len(encoder.threads) == 1
    assert threading.get_ident() not in encoder.threads


async def test_a_short_text_does_not_overtake(encoder: GatedEncoder) -> None:
    """While a pass is under way it waits, like any other: a model need not be thread-safe."""
    encoder.quick_chars = 5
    async with batching(encoder) as batcher:
        held = await hold(encoder, batcher)
        short = asyncio.create_task(batcher.embed(["five5"]))
        await until(lambda: len(batcher) == 1)
        assert "five5" not in encoder.seen
        encoder.gate.set()
        await held
        assert (await short).shape[0] == 1


async def test_equal_texts_are_encoded_once(encoder: GatedEncoder) -> None:
    """Within one caller, between callers in the queue, and with the pass in progress."""
    async with batching(encoder) as batcher:
        encoder.gate.clear()
        first = asyncio.create_task(batcher.embed(["same", "same"]))
        await until(lambda: "same" in encoder.seen)
        joined = asyncio.create_task(batcher.embed(["same", "other"]))
        queued = asyncio.create_task(batcher.embed(["other", "same", "other"]))
        await until(lambda: len(batcher) == 1)
        encoder.gate.set()
        rows = np.concatenate(await asyncio.gather(first, joined, queued))
    assert sorted(encoder.seen) == ["other", "same"]
    expected = ["same", "same", "same", "other", "other", "same", "other"]
    np.testing.assert_array_equal(rows, np.array([row_of(text) for text in expected]))


async def test_a_vector_is_remembered_and_the_least_used_one_goes_first(encoder: GatedEncoder) -> None:
    """The cache never holds more than its limit."""
    async with batching(encoder, cache=2) as batcher:
        for text in ("a", "b", "a", "c", "a", "b"):
            np.testing.assert_array_equal(await batcher.embed([text]), [row_of(text)])
    assert encoder.seen == ["a", "b", "c", "b"]


async def test_a_remembered_vector_cannot_be_changed_by_a_caller(encoder: GatedEncoder) -> None:
    """Callers own their rows."""
    async with batching(encoder, cache=10) as batcher:
        (await batcher.embed(["a"]))[:] = np.nan
        np.testing.assert_array_equal(await batcher.embed(["a"]), [row_of("a")])


async def test_without_a_cache_nothing_is_remembered(encoder: GatedEncoder) -> None:
    """EMBED_CACHE_SIZE=0 means what it says."""
    async with batching(encoder, cache=0) as batcher:
        await batcher.embed(["a"])
        await batcher.embed(["a"])
    assert encoder.seen == ["a", "a"]


async def test_the_wait_lets_callers_of_the_next_turns_join_a_pass(encoder: GatedEncoder) -> None:
    """With a wait, texts that keep arriving share a pass; without one, the first goes alone."""

    async def arrive(batcher: MicroBatcher, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await batcher.embed([f"after {turns} turns"])

    first_pass = {}
    for wait_s in (0.0, 1.0):
        encoder.batches.clear()
        async with batching(encoder, size=5, wait_s=wait_s) as batcher:
            await asyncio.gather(*(arrive(batcher, turns) for turns in range(9)))
            first_pass[wait_s] = len(encoder.batches[0])
    assert first_pass == {0.0: 1, 1.0: 5}


async def test_a_lone_caller_does_not_wait(encoder: GatedEncoder) -> None:
    """The wait ends as soon as a turn of the loop brings no new text."""
    async with batching(encoder, wait_s=5.0) as batcher, asyncio.timeout(2):
        await batcher.embed(["alone"])


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_above_the_queue_limit_whole_calls_are_refused_immediately(encoder: GatedEncoder) -> None:
    """Shedding is immediate, takes nothing of the request, and those in the queue are served."""
    async with batching(encoder, queue=3) as batcher:
        held = await hold(encoder, batcher)
        waiting = asyncio.create_task(batcher.embed(["a", "b"]))
        await until(lambda: len(batcher) == 2)
        with pytest.raises(Unavailable) as refusal:
            batcher.embed(["c", "d"]).send(None)  # in one step, without waiting for anything
        assert refusal.value.retry_after_s
        assert len(batcher) == 2
        one_more = asyncio.create_task(batcher.embed(["e", "a", "b"]))
        await until(lambda: len(batcher) == 3)
        encoder.gate.set()
        await asyncio.gather(held, waiting, one_more)
    assert sorted(encoder.seen) == ["a", "b", "e", "holds the worker"]


async def test_a_request_larger_than_a_pass_is_split(encoder: GatedEncoder) -> None:
    """The size limit bounds passes, not requests."""
    texts = [str(n) for n in range(20)]
    async with batching(encoder, size=3) as batcher:
        np.testing.assert_array_equal(await batcher.embed(texts), np.array([row_of(text) for text in texts]))
    assert max(map(len, encoder.batches)) == 3


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", ["explode", "short answer"])
async def test_an_error_reaches_only_the_callers_of_its_pass(encoder: GatedEncoder, poison: str) -> None:
    """A model that raises, or answers with too few rows, fails one pass; the next one is fine."""
    async with batching(encoder, size=2, cache=10) as batcher:
        held = await hold(encoder, batcher)
        bad = [asyncio.create_task(batcher.embed([text])) for text in (poison, "its neighbour")]
        good = asyncio.create_task(batcher.embed(["in the next pass"]))
        await until(lambda: len(batcher) == 3)
        encoder.gate.set()
        for task in bad:
            with pytest.raises((RuntimeError, ValueError)):
                await task
        np.testing.assert_array_equal(await good, [row_of("in the next pass")])
        np.testing.assert_array_equal(await batcher.embed(["its neighbour"]), [row_of("its neighbour")])
        await held


async def test_a_caller_that_fails_takes_its_other_texts_out_of_the_queue(encoder: GatedEncoder) -> None:
    """Half of a request is of no use."""
    async with batching(encoder, size=1) as batcher:
        with pytest.raises(RuntimeError):
            await batcher.embed(["explode", *(f"never needed {n}" for n in range(50))])
        await batcher.embed(["next"])
    assert len(encoder.seen) <= 3


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_closing_fails_all_waiting_callers(encoder: GatedEncoder) -> None:
    """After the end every caller has an answer, and a late one is refused."""
    async with batching(encoder) as batcher:
        held = await hold(encoder, batcher)
        waiting = asyncio.create_task(batcher.embed(["waits"]))
        await until(lambda: len(batcher) == 1)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        encoder.gate.set()
        await closing
        for task in (held, waiting):
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await batcher.embed(["late"])
