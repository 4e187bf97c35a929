"""What the embedder is asked and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

RAW_VECTORS = "application/octet-stream"
"""Asked for by Accept: the rows as little-endian float32, one after the other, nothing else in the body."""

MODEL_HEADER = "x-embedding-model"
DIMENSION_HEADER = "x-embedding-dimension"

DEADLINE_HEADER = "x-deadline-ms"
"""Milliseconds that are left until the asker gives up. What is left, not when: the clocks of two hosts differ."""


class EmbedRequest(BaseModel):
    """`POST /embed`. A blank text is allowed; a long one is embedded up to EMBED_MAX_CHARS."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[str], Field(min_length=1)]
