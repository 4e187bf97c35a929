"""Vectors of the prompts by the product's embedder, cached between runs."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.embedder.encoder import load_encoder

MAX_CHARS = 8000


def text_vectors(texts: Sequence[str], model: str, cache: Path) -> NDArray[np.float32]:
    """Return (n, dimension), unit rows."""
    encoder = load_encoder(model, cache, _progress)
    texts = [text[:MAX_CHARS] for text in texts]
    digest = hashlib.sha256("\0".join([encoder.model.id, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = cache / "replay" / f"{digest}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        vectors = np.vstack([encoder.encode(texts[i : i + 256]) for i in range(0, len(texts), 256)])
        partial = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, vectors)
        partial.replace(kept)
    loaded: NDArray[np.float32] = np.load(kept)
    return loaded


def _progress(done: int, of: int) -> None:
    if done * 10 // of != (done - 1) * 10 // of:
        print(f"\rdistilling the embedding model {done * 100 // of} %", end="" if done < of else "\n", file=sys.stderr)
