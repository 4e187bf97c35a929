"""`Embedder` over HTTP, and `Embedder` that coalesces short texts of concurrent callers into one call."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.errors import DependencyError
from shared.ports import Embedder
from shared.quick_http import Closed, QuickHttp, Reply
from shared.resilience.coalescer import Coalescer
from shared.schemas.embedding import DEADLINE_HEADER, DIMENSION_HEADER, MODEL_HEADER, RAW_VECTORS
from shared.schemas.storage import EmbeddingModel

MAX_DIMENSION = 16_384
MAX_REPORT_BYTES = 65_536
_NORM_TOLERANCE = 1e-3
_HEADERS = {"Accept": RAW_VECTORS, "Content-Type": "application/json"}


class HttpEmbedder:
    """Client of the embedder service, which validates every answer.

    Vectors of two models never mix: `embed` refuses the vectors of another model than the last result of `model`, until
    `model` is called again. So the caller learns of a change before it gets a vector of the new model.
    """

    def __init__(self, http: QuickHttp, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._model: EmbeddingModel | None = None
        self._changed = False

    async def model(self) -> EmbeddingModel:
        """Return the model of the embedder; cached until it changes."""
        if self._model is None or self._changed:
            _, body = await self._ask("GET", "/health", b"", MAX_REPORT_BYTES)
            try:
                report = orjson.loads(body)
                self._model = _model(report["model"], report["dimension"])
            except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
                raise DependencyError("embedder", "its health report has an unexpected form") from error
            self._changed = False
        return self._model

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension) float32, rows of norm 1, all finite."""
        if not texts:
            return np.empty((0, (await self.model()).dimension), dtype=np.float32)
        try:
            question = orjson.dumps({"texts": list(texts)})
        except orjson.JSONEncodeError as error:
            raise DependencyError("embedder", "a text is not valid Unicode") from error
        headers, body = await self._ask("POST", "/embed", question, 4 * MAX_DIMENSION * len(texts), within_s)
        try:
            model = _model(headers.get(MODEL_HEADER), int(headers.get(DIMENSION_HEADER, "0")))
            vectors = np.frombuffer(body, dtype="<f4").reshape(len(texts), model.dimension).astype(np.float32)
        except ValueError as error:
            raise DependencyError("embedder", "the vectors have an unexpected shape") from error
        self._check_model(model)
        _check_rows(vectors)
        return vectors

    def _check_model(self, model: EmbeddingModel) -> None:
        if self._model is None:
            self._model = model
        elif model != self._model:
            self._changed = True
            raise DependencyError("embedder", f"the model is now {model.id}, not {self._model.id}")

    async def _ask(
        self, method: str, path: str, body: bytes, limit: int, within_s: float | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        """Call within the deadline; once more if the connection ends without an answer, as calls are idempotent."""
        timeout_s = self._timeout_s if within_s is None else min(self._timeout_s, within_s)
        until = time.monotonic() + timeout_s
        try:
            try:
                reply = await self._once(method, path, body, limit, timeout_s)
            except Closed:
                reply = await self._once(method, path, body, limit, until - time.monotonic())
        except TimeoutError as error:
            raise DependencyError("embedder", f"no answer within {1000 * timeout_s:.0f} ms") from error
        except OSError as error:
            raise DependencyError("embedder", f"the call failed ({type(error).__name__})") from error
        if reply.status != HTTPStatus.OK:
            raise DependencyError("embedder", f"it answered status {reply.status}")
        return reply.headers, reply.body

    async def _once(self, method: str, path: str, body: bytes, limit: int, within_s: float) -> Reply:
        headers = {**_HEADERS, DEADLINE_HEADER: str(max(0, int(within_s * 1000)))} if body else None
        return await self._http.request(method, path, body, headers, most=limit, within_s=within_s)


def _model(name: object, dimension: object) -> EmbeddingModel:
    """Return the model that an answer names. Raises ValueError."""
    if not isinstance(name, str) or not name or not isinstance(dimension, int) or not 0 < dimension <= MAX_DIMENSION:
        raise ValueError("not a model")
    return EmbeddingModel(name, dimension)


def _check_rows(vectors: NDArray[np.float32]) -> None:
    """Refuse NaN, infinity and other lengths, which would corrupt all that is learned from them."""
    for row in vectors:
        if not abs(math.sqrt(np.vdot(row, row)) - 1.0) < _NORM_TOLERANCE:  # NaN compares false
            raise DependencyError("embedder", "a vector is not finite or not of norm 1")


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
