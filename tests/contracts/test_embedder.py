"""The contract of `Embedder`, on the fake and on the service with the real static model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.embedder.encoder import STATIC
from shared.clients.embedder_client import CoalescingEmbedder, HttpEmbedder
from shared.ports import Embedder
from shared.quick_http import QuickHttp
from tests.support.embedder_rig import real_encoder, running_embedder
from tests.support.fakes.embedder import FakeEmbedder


@pytest.fixture(params=["fake", "http", "joined"])
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[Embedder]:
    if request.param == "fake":
        yield FakeEmbedder()
        return
    async with running_embedder(real_encoder(STATIC)) as url, QuickHttp(url) as http:
        asked = HttpEmbedder(http, timeout_s=5.0)
        yield asked if request.param == "http" else CoalescingEmbedder(asked, timeout_s=5.0)


async def test_it_says_which_model_answers(embedder: Embedder) -> None:
    """The same one each time, with an id that is safe in a collection's name."""
    model = await embedder.model()
    assert model.id.replace("-", "").isalnum()
    assert model.dimension > 0
    assert await embedder.model() == model


async def test_one_unit_vector_a_text(embedder: Embedder) -> None:
    """Of the model's dimension, float32, norm 1: also for blanks, symbols, other scripts, NUL and long texts."""
    texts = ["hello world", "", "   \n", "🧿", "Как дела?", "字", "a\x00b", "!?", "long " * 5000, "[CLS]"]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (len(texts), (await embedder.model()).dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)


async def test_no_texts_no_vectors(embedder: Embedder) -> None:
    """An empty question has an empty answer, of the right width."""
    assert (await embedder.embed([])).shape == (0, (await embedder.model()).dimension)


async def test_equal_texts_have_equal_vectors(embedder: Embedder) -> None:
    """Within one call and between calls."""
    first = await embedder.embed(["same text", "another", "same text"])
    again = await embedder.embed(["same text"])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_allclose(first[0], again[0], atol=1e-6)


async def test_order_is_kept(embedder: Embedder) -> None:
    """Row i belongs to text i."""
    texts = [f"text number {n} about {topic}" for n, topic in enumerate(["cats", "tax law", "python", "opera", "soup"])]
    together = await embedder.embed(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose((await embedder.embed([text]))[0], row, atol=1e-5)


async def test_shared_words_mean_similar(embedder: Embedder) -> None:
    """Enough for a test of routing: a text is nearer to its rewording than to another subject."""
    asked, reworded, other = await embedder.embed(
        ["how do I sort a list in python", "in python how can I sort a list", "best recipe for onion soup"]
    )
    assert asked @ reworded > 0.7 > asked @ other


async def test_the_caller_owns_its_vectors(embedder: Embedder) -> None:
    """Writing into an answer changes no later one."""
    first = await embedder.embed(["mine"])
    kept = first.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(await embedder.embed(["mine"]), kept)


async def test_concurrent_callers_do_not_mix(embedder: Embedder) -> None:
    """Each gets its own texts' vectors."""
    texts = [f"caller {n} asks about subject {n * 7}" for n in range(60)]
    alone = await embedder.embed(texts)
    rows = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    np.testing.assert_allclose(np.concatenate(rows), alone, atol=1e-5)


async def test_a_cancelled_caller_does_not_affect_others(embedder: Embedder) -> None:
    """Half of the callers leave; the others are served."""
    tasks = [asyncio.create_task(embedder.embed([f"prompt {n}"])) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.done() and not task.cancelled() for task in tasks[1::2])
    for task in tasks[1::2]:
        assert task.result().shape[0] == 1
