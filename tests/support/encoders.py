"""Encoders whose every move a test decides."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.schemas.storage import EmbeddingModel

DIMENSION = 4


def row_of(text: str) -> NDArray[np.float32]:
    """What `GatedEncoder` makes of a text."""
    row = np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float32)


class GatedEncoder:
    """Encodes while `gate` is open, waits while it is closed; fails on texts that say so."""

    quick_chars = 0
    """So many characters together are said to be quick."""

    def __init__(self) -> None:
        self.model = EmbeddingModel("gated-4", DIMENSION)
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    @property
    def seen(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    def quick(self, texts: Sequence[str]) -> bool:
        return sum(map(len, texts)) <= self.quick_chars

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10), "the test forgot to open the gate"
        if any("explode" in text for text in texts):
            raise RuntimeError("the model broke")
        if any("short" in text for text in texts):
            return np.empty((0, DIMENSION), dtype=np.float32)
        return np.array([row_of(text) for text in texts])
