"""Endpoint `POST /embed`: from headers and body to a reply, for the fast path and for aiohttp alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from pydantic import ValidationError

from services.embedder.micro_batcher import MicroBatcher
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
class EmbedEndpoint:
    """The endpoint. A request has at most `most_texts` texts; each is cut to `most_chars` characters."""

    batcher: MicroBatcher
    model: EmbeddingModel
    most_texts: int
    most_chars: int

    async def reply(self, headers: Mapping[str, str], body: bytes) -> PlainResponse:
        """Embed the texts of the body; reply with JSON or, by `Accept`, raw float32 rows. Raises ClientError."""
        vectors = await self.batcher.embed(self._texts(body), within_s=_deadline_s(headers))
        about = {MODEL_HEADER: self.model.id, DIMENSION_HEADER: str(self.model.dimension)}
        if RAW_VECTORS in headers.get("accept", ""):
            return PlainResponse(
                200, {**about, "Content-Type": RAW_VECTORS}, vectors.astype("<f4", copy=False).tobytes()
            )
        content = {"model": self.model.id, "dimension": self.model.dimension, "vectors": np.ascontiguousarray(vectors)}
        return PlainResponse(
            200, {**about, "Content-Type": JSON}, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        )

    def _texts(self, body: bytes) -> list[str]:
        """Return the texts of the body, each cut to `most_chars`."""
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
                f"A request may have at most {self.most_texts} texts.", code="too_many_texts", param="texts"
            )
        return [text[: self.most_chars] for text in texts]


def check_type(headers: Mapping[str, str]) -> None:
    """Check that the body is declared as JSON. Raises UnsupportedMedia."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMedia("The content type must be application/json.", code="unsupported_media_type")


def error_reply(error: Exception) -> PlainResponse:
    """Return the reply to an exception, in OpenAI's error shape. No embedded text reaches the log.

    Only this function and `handlers.errors` set statuses of errors.
    """
    if isinstance(error, ClientError):
        return problem_reply(_STATUS.get(type(error), 500), str(error), error.code, error.param, error.retry_after_s)
    log.error("request failed", error=type(error).__name__)  # no traceback: its message could quote a text
    return problem_reply(500, "The embedder failed.", "internal_error")


def problem_reply(
    status: int, message: str, code: str, param: str | None = None, retry_after_s: float | None = None
) -> PlainResponse:
    """Return a reply in OpenAI's error shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {"Content-Type": JSON}
    if retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    return PlainResponse(status, headers, problem(message, kind=kind, code=code, param=param))


def _deadline_s(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds from now the client waits; None without the header."""
    left_ms = headers.get(DEADLINE_HEADER, "")
    return int(left_ms) / 1000 if _MILLISECONDS.fullmatch(left_ms) else None
