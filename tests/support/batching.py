"""A batcher on an encoder that waits for the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import CollectorRegistry

from services.embedder.micro_batcher import BatchLimits, MicroBatcher
from shared.metrics import EmbedderMetrics
from tests.support.encoders import GatedEncoder
from tests.support.fakes.supervision import new_supervisor


@contextlib.asynccontextmanager
async def batching(
    encoder: GatedEncoder, *, size: int = 8, wait_s: float = 0.0, queue: int = 1000, cache: int = 0
) -> AsyncIterator[MicroBatcher]:
    limits = BatchLimits(size=size, wait_s=wait_s, queue=queue, cache=cache)
    batcher = MicroBatcher(encoder, limits, EmbedderMetrics(CollectorRegistry()), new_supervisor())
    try:
        yield batcher
    finally:
        encoder.gate.set()
        await batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another thread
            await asyncio.sleep(0.001)


async def hold(encoder: GatedEncoder, batcher: MicroBatcher) -> asyncio.Task[object]:
    """Keep the worker busy with a text of its own until the gate opens."""
    encoder.gate.clear()
    task: asyncio.Task[object] = asyncio.create_task(batcher.embed(["holds the worker"]))
    await until(lambda: "holds the worker" in encoder.seen)
    return task
