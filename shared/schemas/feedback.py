"""The feedback request: which answer, how good, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import PayloadTooLarge
from shared.schemas.ids import REQUEST_ID_PATTERN
from shared.schemas.strict_json import load_object
from shared.schemas.validation import validate

MAX_TEXT_CHARS = 16_384


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """A validated rating. `score` lies in [0, 1]; fields that we do not know are ignored, the record rules."""

    request_id: str
    score: float
    text: str | None


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    request_id: Annotated[str, Field(pattern=REQUEST_ID_PATTERN)]
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    feedback_text: str | None = None


def parse_feedback(raw: bytes) -> FeedbackRequest:
    """Parse and validate a feedback body. Raises InvalidRequest, with the field named, or PayloadTooLarge."""
    fields = validate(_Fields, load_object(raw))
    if fields.feedback_text is not None and len(fields.feedback_text) > MAX_TEXT_CHARS:
        raise PayloadTooLarge(
            f"feedback_text is longer than {MAX_TEXT_CHARS} characters.", code="body_too_large", param="feedback_text"
        )
    return FeedbackRequest(request_id=fields.request_id, score=fields.score, text=fields.feedback_text)
