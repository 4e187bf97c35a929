"""Request and response formats of the embedder."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

RAW_VECTORS = "application/octet-stream"
"""Media type (Accept): rows of little-endian float32, concatenated, and nothing else in the body."""

MODEL_HEADER = "x-embedding-model"
DIMENSION_HEADER = "x-embedding-dimension"

DEADLINE_HEADER = "x-deadline-ms"
"""Milliseconds until the caller's deadline. A duration, not a time: the clocks of two hosts differ."""


class EmbedRequest(BaseModel):
    """`POST /embed`. A blank text is allowed; a long one is embedded up to EMBED_MAX_CHARS."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[str], Field(min_length=1)]
