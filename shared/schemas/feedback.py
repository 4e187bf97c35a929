"""Feedback request: the id of an answer, its score, and an optional text."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import InvalidRequest, PayloadTooLarge
from shared.schemas.ids import REQUEST_ID_PATTERN
from shared.schemas.strict_json import load_object, validate

MAX_TEXT_CHARS = 16_384
MAX_FEEDBACK_BYTES = 262_144
"""Largest body: the longest text with each character as two escapes of six bytes, and some margin."""

_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")


class FeedbackRequest(Struct, frozen=True):
    """A validated rating. `score` is in [0, 1]; unknown fields are ignored."""

    request_id: str
    score: float
    text: str | None


class RatingFields(BaseModel):
    """Body of a rating by a signed link, which names the request."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    feedback_text: str | None = None


class FeedbackFields(RatingFields):
    """Body of a rating."""

    request_id: Annotated[str, Field(pattern=REQUEST_ID_PATTERN)]


def parse_feedback(raw: bytes) -> FeedbackRequest:
    """Parse and validate a feedback body. Raises InvalidRequest, with the field named, or PayloadTooLarge."""
    fields = validate(FeedbackFields, load_object(raw))
    return _request(fields, fields.request_id)


def parse_rating(raw: bytes, request_id: str, *, form: bool) -> FeedbackRequest:
    """Parse a rating by a signed link, which names the request: JSON or form fields. Raises the same errors."""
    return _request(validate(RatingFields, _form_fields(raw) if form else load_object(raw)), request_id)


def _request(fields: RatingFields, request_id: str) -> FeedbackRequest:
    if fields.feedback_text is not None and len(fields.feedback_text) > MAX_TEXT_CHARS:
        raise PayloadTooLarge(
            f"feedback_text is longer than {MAX_TEXT_CHARS} characters.", code="body_too_large", param="feedback_text"
        )
    return FeedbackRequest(request_id=request_id, score=fields.score, text=fields.feedback_text)


def _form_fields(raw: bytes) -> dict[str, object]:
    try:
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise InvalidRequest("The body is not a form's fields.", code="invalid_value") from None
    fields: dict[str, object] = {name: value for name, value in pairs if value}
    score = fields.get("score")
    if isinstance(score, str):
        # All form values are text; one that is not a number stays text and fails validation.
        fields["score"] = float(score) if _NUMBER.fullmatch(score) else score
    return fields
