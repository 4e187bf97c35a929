"""`Embedder` in memory: a hashed bag of words. The same words give the same vector, in every process."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import DependencyError
from shared.schemas.storage import EmbeddingModel


class FakeEmbedder:
    """Similar texts share words. Set `error` to make it fail, `delay_s` to make it slow."""

    def __init__(self, dimension: int = 256) -> None:
        self.error: DependencyError | None = None
        self.delay_s = 0.0
        self.within_s: float | None = None
        self.asked: list[str] = []
        self._model = EmbeddingModel(f"fake-{dimension}", dimension)

    def named(self, model: EmbeddingModel) -> None:
        """Let the fake be another model."""
        self._model = model

    async def model(self) -> EmbeddingModel:
        """Return the fake's model."""
        if self.error is not None:
            raise self.error
        return self._model

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension), rows of norm 1."""
        self.within_s = within_s
        if self.delay_s:
            await asyncio.sleep(min(self.delay_s, math.inf if within_s is None else within_s))
            if within_s is not None and within_s < self.delay_s:
                raise DependencyError("embedder", "no answer in time")
        if self.error is not None:
            raise self.error
        self.asked.extend(texts)
        try:
            return bags_of_words(texts, self._model.dimension)
        except UnicodeEncodeError as error:
            raise DependencyError("embedder", "a text is not valid Unicode") from error


def bags_of_words(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """Return a unit vector for each text: a word adds to one place, which its hash chooses."""
    rows = np.zeros((len(texts), dimension), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        text.encode()
        for word in re.findall(r"\w+", text.lower()):
            number = zlib.crc32(word.encode())
            row[number % dimension] += 1.0 if number & 0x8000_0000 else -1.0
        if not row.any():  # blank, or words that cancel out
            row[:] = 1.0
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
