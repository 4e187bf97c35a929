"""Fake and real `Embedder` return the same: the service computes what the fake does, and whole values are compared."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.clients.embedder_client import CoalescingEmbedder, HttpEmbedder
from shared.ports import Embedder
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from tests.support.embedder_rig import running_embedder
from tests.support.fakes.embedder import FakeEmbedder, bags_of_words
from tests.support.whole_values import outcome

DIMENSION = 256
TEXTS = ("one apple", "two pears", "two pears", "", "  \n", "字 🧿", "a\x00b", "long " * 3000)
TIMEOUT_S = 10.0


class BagsOfWords:
    """An encoder with the fake's model and vectors."""

    model = EmbeddingModel(f"fake-{DIMENSION}", DIMENSION)

    def quick(self, texts: Sequence[str]) -> bool:
        return len(texts) < 3

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return bags_of_words(texts, DIMENSION)


@pytest.mark.parametrize("coalescing", [False, True])
async def test_fake_and_real_return_the_same_whole_values(coalescing: bool) -> None:
    """The model with all of its fields, and vectors to the bit; none for no text; an error for half a character."""
    chance = random.Random(1)
    async with running_embedder(BagsOfWords()) as url, QuickHttp(url) as http:
        fake, real = FakeEmbedder(DIMENSION), HttpEmbedder(http, TIMEOUT_S)
        sides: tuple[Embedder, Embedder] = fake, CoalescingEmbedder(real, TIMEOUT_S) if coalescing else real
        theirs, ours = [await outcome(side.model()) for side in sides]
        assert ours == theirs
        questions = [["half \ud800"], [], *([chance.choice(TEXTS) for _ in range(n)] for n in (1, 1, 1, 2, 3, 5))]
        for texts in questions:
            theirs, ours = [await outcome(side.embed(texts, within_s=TIMEOUT_S)) for side in sides]
            assert ours == theirs, texts
