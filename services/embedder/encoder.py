"""Texts to unit vectors, by whichever model EMBEDDING_MODEL names; fastembed loads all of them, and runs all but ours.

Importing fastembed takes half a second, so it happens when a model is loaded, not when this module is imported.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from services.embedder.distill import DIMENSION, STATIC_ID, Progress, processors, static_model, unbounded_tokenizer
from services.embedder.model_files import TOKENIZER, WEIGHTS, cached_folder, sha256_of, short_hash, verified
from services.embedder.words import Words
from shared.errors import SettingsError
from shared.logs import get_logger
from shared.schemas.storage import EmbeddingModel

if TYPE_CHECKING:
    from fastembed import TextEmbedding

STATIC = "static"
MINILM = "all-MiniLM-L6-v2"
MINILM_DIMENSION = 384
MINILM_TOKENS = 256
"""What the transformer was trained on; it reads no further. The static model has no such limit."""
MINILM_ID = f"minilm-int8-{MINILM_DIMENSION}-{short_hash(str(MINILM_TOKENS), WEIGHTS.sha256, TOKENIZER.sha256)}"

_PADDED = 4
"""Texts of like length that share one padded pass of a transformer. Measured on two cores with prompts of any length:
16 cost half as much again, 1 costs short texts double."""
EMPTY = 1e-6
"""A sum of vectors that is shorter is of a text without a known token."""
NOT_FINITE = "the model gave a vector that is not finite"
_QUICK_CHARS = 4096
_QUICK_WORD = 24

log = get_logger(__name__)


class Encoder(Protocol):
    """A loaded model. `encode` blocks, and is called by one thread at a time."""

    model: EmbeddingModel

    def quick(self, texts: Sequence[str]) -> bool:
        """Whether these cost less than waking a thread for them, and can keep no event loop waiting for long."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (len(texts), dimension), rows of norm 1, all finite."""
        ...


class FastembedEncoder:
    """Any model of fastembed, on the processor."""

    def __init__(self, embedding: TextEmbedding, model: EmbeddingModel) -> None:
        self.model = model
        self._embedding = embedding
        self._nothing = np.full(model.dimension, model.dimension**-0.5, dtype=np.float32)

    def quick(self, texts: Sequence[str]) -> bool:  # noqa: ARG002 - of the port
        """Never: a transformer takes milliseconds for a word."""
        return False

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed; in order of length, so that a short text is not padded to a long one."""
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        rows = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        rows[order] = np.array(list(self._embedding.embed([texts[position] for position in order], _PADDED)))
        return self._normalised(rows)

    def _normalised(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale to norm 1. A text without a known token, like a blank one, is near to nothing but its like."""
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        empty = norms[:, 0] < EMPTY
        rows[empty], norms[empty] = self._nothing, 1.0
        rows /= norms
        if not np.isfinite(rows).all():
            raise ValueError(NOT_FINITE)
        return rows


class StaticEncoder(FastembedEncoder):
    """Our static model: a text's vector is the sum of its tokens' vectors, scaled to norm 1."""

    def __init__(self, embedding: TextEmbedding, model: EmbeddingModel) -> None:
        super().__init__(embedding, model)
        loaded: Any = embedding.model
        self._vectors: NDArray[np.float32] = loaded.embeddings
        self._words = Words(loaded.tokenizer)

    def quick(self, texts: Sequence[str]) -> bool:
        """Short, in words of usual length: under 1 ms, a few where no word is known. Long ones cost their square."""
        together = " ".join(texts)
        return (
            len(together) <= _QUICK_CHARS
            and together.isascii()
            and max(map(len, together.split()), default=0) <= _QUICK_WORD
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed, as fastembed's own loop does: the vector of an unknown token is zero."""
        rows = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        for at, text in enumerate(texts):
            row = rows[at]
            np.add.reduce(self._vectors.take(self._words.ids(text), axis=0), axis=0, out=row)
            self._normalise(row)
        return rows

    def _normalise(self, row: NDArray[np.float32]) -> None:
        """As `_normalised`; for one row a seventh of its time, and most passes are of one."""
        norm = math.sqrt(row.dot(row))
        if norm < EMPTY:
            row[:] = self._nothing
        elif norm < math.inf:
            row /= norm
        else:
            raise ValueError(NOT_FINITE)


def load_encoder(name: str, cache: Path, on_progress: Progress) -> FastembedEncoder:
    """Load the model that EMBEDDING_MODEL names, making or downloading it first where the cache has none.

    Raises SettingsError when it is unknown, cannot be downloaded, or is not the one that we know.
    """
    if name == STATIC:
        return _static(static_model(cache, on_progress), cache)
    if name == MINILM:
        return _minilm(_minilm_files(cache), cache)
    return _by_name(name, cache)


def _static(folder: Path, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see the top

    # The name only selects fastembed's static loader; the files are ours.
    embedding = TextEmbedding("minishlab/potion-base-8M", cache_dir=str(cache), specific_model_path=str(folder))
    loaded: Any = embedding.model
    loaded.tokenizer.no_truncation()  # the loader cuts at 512 tokens; EMBED_MAX_CHARS is the bound here
    return StaticEncoder(embedding, EmbeddingModel(STATIC_ID, DIMENSION))


def _minilm_files(cache: Path) -> Path:
    def fill(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(verified(WEIGHTS).read_bytes())
        (folder / "tokenizer.json").write_bytes(unbounded_tokenizer(orjson.loads(verified(TOKENIZER).read_bytes())))
        settings = {"model_max_length": MINILM_TOKENS, "pad_token": "[PAD]"}
        (folder / "tokenizer_config.json").write_bytes(orjson.dumps(settings))

    return cached_folder(cache / MINILM_ID, fill)


def _minilm(folder: Path, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see the top
    from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415 - see the top

    if MINILM_ID not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            model=MINILM_ID,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf="sentence-transformers/all-MiniLM-L6-v2"),  # required, never asked: files are local
            dim=MINILM_DIMENSION,
            model_file="model.onnx",
        )
    embedding = TextEmbedding(
        MINILM_ID, cache_dir=str(cache), threads=processors(), specific_model_path=str(folder), local_files_only=True
    )
    return FastembedEncoder(embedding, EmbeddingModel(MINILM_ID, MINILM_DIMENSION))


def _by_name(name: str, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see the top

    known = {model["model"].lower(): model for model in TextEmbedding.list_supported_models()}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.3)
        raise SettingsError(
            f"EMBEDDING_MODEL={name} is unknown; allowed: {STATIC}, {MINILM}, or a name that fastembed knows, like "
            + ", ".join(str(known[match]["model"]) for match in near or sorted(known)[:3])
        )
    description = known[name.lower()]
    log.info("loading; downloads what MODEL_CACHE_DIR does not have", model=description["model"])
    try:
        embedding = TextEmbedding(description["model"], cache_dir=str(cache), threads=_threads(description))
        loaded: Any = embedding.model
        folder: Path = loaded._model_dir  # noqa: SLF001 - fastembed has no public way to ask for the files
        revision = sha256_of(folder / description["model_file"])
    except Exception as error:  # whatever a download or a foreign file can raise: the start stops, and says why
        raise SettingsError(
            f"EMBEDDING_MODEL={name} is neither in MODEL_CACHE_DIR nor can it be downloaded ({type(error).__name__}); "
            f"without a network use {STATIC} or {MINILM}"
        ) from error
    safe = re.sub(r"[^a-z0-9]+", "-", description["model"].lower()).strip("-")
    model = EmbeddingModel(f"{safe}-{description['dim']}-{revision[:8]}", description["dim"])
    return FastembedEncoder(embedding, model)


def _threads(description: dict[str, object]) -> int | None:
    """Static models run in numpy and warn when they are given threads."""
    return processors() if str(description["model_file"]).endswith(".onnx") else None
