"""Responses of `POST /embed`, the same by the fast path and by aiohttp."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from pydantic import ValidationError

from services.embedder.batcher import Batcher
from shared.errors import (
    ClientError,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    Unavailable,
    UnsupportedMedia,
)
from shared.fast_path import PlainResponse
from shared.logs import get_logger
from shared.schemas.embedding import DEADLINE_HEADER, DIMENSION_HEADER, MODEL_HEADER, RAW_VECTORS, EmbedRequest
from shared.schemas.problem import problem
from shared.schemas.storage import EmbeddingModel

JSON = "application/json"
_STATUS: dict[type[ClientError], int] = {
    InvalidRequest: 400,
    RequestTimeout: 408,
    PayloadTooLarge: 413,
    UnsupportedMedia: 415,
    Unavailable: 503,
}
_MILLISECONDS = re.compile(r"[0-9]{1,9}")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Embedding:
    """What answers are made with: the model, and how many texts of which length a request may have."""

    batcher: Batcher
    model: EmbeddingModel
    most_texts: int
    most_chars: int

    async def answer(self, headers: Mapping[str, str], body: bytes) -> PlainResponse:
        """Texts in, vectors out, as JSON or (by Accept) raw float32. Raises ClientError."""
        vectors = await self.batcher.embed(self._texts(body), within_s=_deadline_s(headers))
        said = {MODEL_HEADER: self.model.id, DIMENSION_HEADER: str(self.model.dimension)}
        if RAW_VECTORS in headers.get("accept", ""):
            return PlainResponse(
                200, {**said, "Content-Type": RAW_VECTORS}, vectors.astype("<f4", copy=False).tobytes()
            )
        answer = {"model": self.model.id, "dimension": self.model.dimension, "vectors": np.ascontiguousarray(vectors)}
        return PlainResponse(
            200, {**said, "Content-Type": JSON}, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        )

    def _texts(self, body: bytes) -> list[str]:
        """Return the texts, each cut to what is embedded."""
        try:
            texts = EmbedRequest.model_validate(orjson.loads(body)).texts
        except orjson.JSONDecodeError as error:
            raise InvalidRequest("The body is not valid JSON.", code="invalid_json") from error
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise InvalidRequest(f"{first['msg']}.", code="invalid_value", param=path or None) from None
        if len(texts) > self.most_texts:
            raise PayloadTooLarge(
                f"At most {self.most_texts} texts fit into one request.", code="too_many_texts", param="texts"
            )
        return [text[: self.most_chars] for text in texts]


def check_type(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMedia where the body is not said to be JSON."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMedia("The content type must be application/json.", code="unsupported_media_type")


def failure(error: Exception) -> PlainResponse:
    """Return an error in OpenAI's shape; with `handlers.errors` the one place that sets statuses.

    No text reaches the log.
    """
    if isinstance(error, ClientError):
        return refusal(_STATUS.get(type(error), 500), str(error), error.code, error.param, error.retry_after_s)
    log.error("request failed", error=type(error).__name__)  # a traceback's message could quote a text
    return refusal(500, "The embedder failed.", "internal_error")


def refusal(
    status: int, message: str, code: str, param: str | None = None, retry_after_s: float | None = None
) -> PlainResponse:
    """Return an error in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {"Content-Type": JSON}
    if retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    return PlainResponse(status, headers, problem(message, kind=kind, code=code, param=param))


def _deadline_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the asker waits, counted from now; None where it does not say."""
    left_ms = headers.get(DEADLINE_HEADER, "")
    return int(left_ms) / 1000 if _MILLISECONDS.fullmatch(left_ms) else None
