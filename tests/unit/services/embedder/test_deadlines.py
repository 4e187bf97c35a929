"""Work that cannot be done in time is refused immediately, so that accepted work is done in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.embedder.micro_batcher import BatchLimits, MicroBatcher
from shared.errors import Unavailable
from shared.metrics import EmbedderMetrics
from tests.support.batching import batching, hold, until
from tests.support.encoders import GatedEncoder
from tests.support.fakes.supervision import new_supervisor


class SlowEncoder(GatedEncoder):
    """Takes its time for every text."""

    text_s = 0.004

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self.text_s * len(texts))
        return super().encode(texts)


async def test_under_tenfold_overload_requests_are_refused_immediately_or_served_in_time() -> None:
    """Row 17 of the failures: refusals within 20 ms each, and an admitted caller gets its vectors."""
    limits = BatchLimits(size=8, wait_s=0.0, queue=1000, cache=0)
    batcher = MicroBatcher(SlowEncoder(), limits, EmbedderMetrics(CollectorRegistry()), new_supervisor())
    refused: list[float] = []
    served: list[float] = []

    async def ask(name: str, within_s: float) -> None:
        started = time.monotonic()
        try:
            await batcher.embed([name], within_s=within_s)
            served.append(time.monotonic() - started)
        except Unavailable:
            refused.append(time.monotonic() - started)

    await batcher.embed(["the first tells how long a text takes"])
    asking = []
    for step in range(50):  # 2,500 texts a second of which 250 can be done
        asking += [asyncio.create_task(ask(f"{step} {number}", 0.1)) for number in range(25)]
        await asyncio.sleep(0.01)
    await asyncio.gather(*asking)
    await batcher.close()
    assert len(served) + len(refused) == 1250
    assert len(served) >= 40
    assert len(refused) >= 900
    assert sorted(refused)[len(refused) // 2] < 0.02
    assert sorted(served)[len(served) // 2] < 0.15


async def test_with_nothing_ahead_it_tries() -> None:
    """A pass that was slow once must not make it refuse for ever."""
    encoder = SlowEncoder()
    encoder.text_s = 0.3
    batcher = MicroBatcher(
        encoder,
        BatchLimits(size=8, wait_s=0, queue=10, cache=0),
        EmbedderMetrics(CollectorRegistry()),
        new_supervisor(),
    )
    await batcher.embed(["slow"])
    encoder.text_s = 0.0
    for number in range(20):
        await batcher.embed([str(number)], within_s=0.05)
    asked = await asyncio.gather(*(batcher.embed([f"both {n}"], within_s=0.2) for n in range(4)))
    assert len(asked) == 4
    await batcher.close()


async def test_texts_of_cancelled_callers_are_not_encoded() -> None:
    """A text whose callers are all past their deadline is dropped before the pass; with one that can wait it is not."""
    encoder = GatedEncoder()
    async with batching(encoder) as batcher:
        held = await hold(encoder, batcher)
        late = asyncio.create_task(batcher.embed(["late"], within_s=0.02))
        both = [asyncio.create_task(batcher.embed(["both"], within_s=within)) for within in (0.02, None)]
        await until(lambda: len(batcher) == 2)
        await asyncio.sleep(0.05)
        encoder.gate.set()
        await held
        with pytest.raises(Unavailable, match="in time"):
            await late
        await asyncio.gather(*both)
    assert "late" not in encoder.seen
    assert "both" in encoder.seen


async def test_the_own_texts_of_a_request_take_time_too() -> None:
    """Ten texts behind one other take eleven times as long as a text, which is too long here."""
    encoder = SlowEncoder()
    encoder.text_s = 0.05
    async with batching(encoder, size=1) as batcher:
        for number in range(20):
            await batcher.embed([f"the average is known after some texts: {number}"])
        holding = await hold(encoder, batcher)
        with pytest.raises(Unavailable):
            await batcher.embed([f"text {number}" for number in range(10)], within_s=0.3)
        encoder.gate.set()
        await holding
