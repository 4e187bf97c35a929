"""`Embedder` that coalesces short texts of concurrent callers into one call (`shared.resilience.coalescer`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.ports import Embedder
from shared.resilience.coalescer import Coalescer
from shared.schemas.storage import EmbeddingModel

SHORT_CHARS = 1_000
MOST = 32


class CoalescingEmbedder:
    """Calls `embedder` for several callers together. The cancellation of one does not affect the texts of others."""

    def __init__(self, embedder: Embedder, timeout_s: float) -> None:
        """Take the deadline of callers that give none."""
        self._embedder = embedder
        self._timeout_s = timeout_s
        self._rows = Coalescer[str, NDArray[np.float32]]("embedder", self._rows_of, most=MOST)

    async def model(self) -> EmbeddingModel:
        """Return the model of the embedder."""
        return await self._embedder.model()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension) float32, rows of norm 1, all finite."""
        if len(texts) != 1:
            return await self._embedder.embed(texts, within_s=within_s)
        left_s = self._timeout_s if within_s is None else within_s
        alone = left_s < self._timeout_s or len(texts[0]) > SHORT_CHARS or not _is_unicode(texts[0])
        return await self._rows.submit(texts[0], left_s, alone=alone)

    async def _rows_of(self, texts: Sequence[str], within_s: float) -> Sequence[NDArray[np.float32]]:
        """Return (1, dimension) for each text."""
        rows = await self._embedder.embed(texts, within_s=within_s)
        return [rows[at : at + 1] for at in range(len(texts))]


def _is_unicode(text: str) -> bool:
    """Return whether `text` can be encoded; half a surrogate pair cannot, and would fail the whole call."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
