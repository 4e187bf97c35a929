"""Encoders: texts to unit vectors, by the model of EMBEDDING_MODEL. fastembed loads all models and runs all but ours.

fastembed is imported when a model is loaded and not with this module, because that takes half a second.
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

from services.embedder.cached_tokenizer import CachedTokenizer
from services.embedder.distillation import DIMENSION, STATIC_ID, Progress, processors, static_model, unbounded_tokenizer
from services.embedder.model_files import TOKENIZER, WEIGHTS, cached_folder, sha256_of, short_hash, verified
from shared.errors import SettingsError
from shared.logs import get_logger
from shared.schemas.storage import EmbeddingModel

if TYPE_CHECKING:
    from fastembed import TextEmbedding

STATIC = "static"
MINILM = "all-MiniLM-L6-v2"
MINILM_DIMENSION = 384
MINILM_TOKENS = 256
"""Longest input of the transformer, as in its training. The static model has no limit."""
MINILM_ID = f"minilm-int8-{MINILM_DIMENSION}-{short_hash(str(MINILM_TOKENS), WEIGHTS.sha256, TOKENIZER.sha256)}"

_PADDED = 4
"""Texts of similar length per padded pass of a transformer. Measured on two cores with prompts of all lengths: with 16
a text takes half as long again, with 1 short texts take twice as long."""
EMPTY = 1e-6
"""Vectors with a smaller norm are of texts without a known token."""
NOT_FINITE = "the model returned a vector that is not finite"
_QUICK_CHARS = 4096
_QUICK_WORD = 24

log = get_logger(__name__)


class Encoder(Protocol):
    """A loaded model. `encode` blocks; calls must not be concurrent."""

    model: EmbeddingModel

    def quick(self, texts: Sequence[str]) -> bool:
        """Whether encoding these texts takes less time than waking a thread, so that it may run on the event loop."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 rows of norm 1, all finite, of shape (len(texts), dimension)."""
        ...


class FastembedEncoder:
    """Any model of fastembed, on the CPU."""

    def __init__(self, embedding: TextEmbedding, model: EmbeddingModel) -> None:
        self.model = model
        self._embedding = embedding
        self._unknown = np.full(model.dimension, model.dimension**-0.5, dtype=np.float32)

    def quick(self, texts: Sequence[str]) -> bool:  # noqa: ARG002 - part of the protocol
        """Return False: a transformer takes milliseconds even for a word."""
        return False

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed in order of length, so that short texts are not padded to long ones."""
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        rows = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        rows[order] = np.array(list(self._embedding.embed([texts[position] for position in order], _PADDED)))
        return self._normalised(rows)

    def _normalised(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale rows to norm 1. All texts without a known token, like blank ones, get the same fixed vector."""
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        empty = norms[:, 0] < EMPTY
        rows[empty], norms[empty] = self._unknown, 1.0
        rows /= norms
        if not np.isfinite(rows).all():
            raise ValueError(NOT_FINITE)
        return rows


class StaticEncoder(FastembedEncoder):
    """Static model: a text's vector is the sum of its tokens' vectors, scaled to norm 1."""

    def __init__(self, embedding: TextEmbedding, model: EmbeddingModel) -> None:
        super().__init__(embedding, model)
        loaded: Any = embedding.model
        self._vectors: NDArray[np.float32] = loaded.embeddings
        self._tokenizer = CachedTokenizer(loaded.tokenizer)

    def quick(self, texts: Sequence[str]) -> bool:
        """Whether texts are short (under 1 ms). Words must be short too: time grows with the square of their length."""
        joined = " ".join(texts)
        return (
            len(joined) <= _QUICK_CHARS and joined.isascii() and max(map(len, joined.split()), default=0) <= _QUICK_WORD
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed as fastembed does: the vector of an unknown token is zero."""
        rows = np.empty((len(texts), self.model.dimension), dtype=np.float32)
        for at, text in enumerate(texts):
            row = rows[at]
            np.add.reduce(self._vectors.take(self._tokenizer.ids(text), axis=0), axis=0, out=row)
            self._normalise(row)
        return rows

    def _normalise(self, row: NDArray[np.float32]) -> None:
        """Scale one row like `_normalised`, in a seventh of its time: most batches have one text."""
        norm = math.sqrt(row.dot(row))
        if norm < EMPTY:
            row[:] = self._unknown
        elif norm < math.inf:
            row /= norm
        else:
            raise ValueError(NOT_FINITE)


def load_encoder(name: str, cache: Path, on_progress: Progress) -> FastembedEncoder:
    """Load the model `name`; make or download it first when the cache does not have it.

    Raises SettingsError when it is unknown, cannot be downloaded, or has the wrong hash.
    """
    if name == STATIC:
        return _static(static_model(cache, on_progress), cache)
    if name == MINILM:
        return _minilm(_minilm_files(cache), cache)
    return _by_name(name, cache)


def _static(folder: Path, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see module docstring

    # The name only selects fastembed's static loader; the files are ours.
    embedding = TextEmbedding("minishlab/potion-base-8M", cache_dir=str(cache), specific_model_path=str(folder))
    loaded: Any = embedding.model
    loaded.tokenizer.no_truncation()  # the loader truncates at 512 tokens; here EMBED_MAX_CHARS is the limit
    return StaticEncoder(embedding, EmbeddingModel(STATIC_ID, DIMENSION))


def _minilm_files(cache: Path) -> Path:
    def fill(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(verified(WEIGHTS).read_bytes())
        (folder / "tokenizer.json").write_bytes(unbounded_tokenizer(orjson.loads(verified(TOKENIZER).read_bytes())))
        settings = {"model_max_length": MINILM_TOKENS, "pad_token": "[PAD]"}
        (folder / "tokenizer_config.json").write_bytes(orjson.dumps(settings))

    return cached_folder(cache / MINILM_ID, fill)


def _minilm(folder: Path, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see module docstring
    from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415 - see module docstring

    if MINILM_ID not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            model=MINILM_ID,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf="sentence-transformers/all-MiniLM-L6-v2"),  # required, never used: files are local
            dim=MINILM_DIMENSION,
            model_file="model.onnx",
        )
    embedding = TextEmbedding(
        MINILM_ID, cache_dir=str(cache), threads=processors(), specific_model_path=str(folder), local_files_only=True
    )
    return FastembedEncoder(embedding, EmbeddingModel(MINILM_ID, MINILM_DIMENSION))


def _by_name(name: str, cache: Path) -> FastembedEncoder:
    from fastembed import TextEmbedding  # noqa: PLC0415 - see module docstring

    known = {model["model"].lower(): model for model in TextEmbedding.list_supported_models()}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.3)
        raise SettingsError(
            f"EMBEDDING_MODEL={name} is unknown; use {STATIC}, {MINILM}, or a model of fastembed, like "
            + ", ".join(str(known[match]["model"]) for match in near or sorted(known)[:3])
        )
    description = known[name.lower()]
    log.info("loading the model, and downloading it if MODEL_CACHE_DIR does not have it", model=description["model"])
    try:
        embedding = TextEmbedding(description["model"], cache_dir=str(cache), threads=_threads(description))
        loaded: Any = embedding.model
        folder: Path = loaded._model_dir  # noqa: SLF001 - fastembed has no public name for the folder
        revision = sha256_of(folder / description["model_file"])
    except Exception as error:  # a download or a damaged file can raise anything; the start ends with the reason
        raise SettingsError(
            f"EMBEDDING_MODEL={name} is neither in MODEL_CACHE_DIR nor can it be downloaded ({type(error).__name__}); "
            f"without a network use {STATIC} or {MINILM}"
        ) from error
    safe = re.sub(r"[^a-z0-9]+", "-", description["model"].lower()).strip("-")
    model = EmbeddingModel(f"{safe}-{description['dim']}-{revision[:8]}", description["dim"])
    return FastembedEncoder(embedding, model)


def _threads(description: dict[str, object]) -> int | None:
    """Return the number of threads; None for static models, which run in numpy and warn about threads."""
    return processors() if str(description["model_file"]).endswith(".onnx") else None
