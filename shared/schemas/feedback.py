"""Feedback request: the id of an answer or of a session, its score, its source, and an optional text."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from msgspec import Struct, structs
from pydantic import BaseModel, ConfigDict, Field

from shared.bandit.sources import Source
from shared.errors import ClientError, InvalidRequest, PayloadTooLarge
from shared.schemas.chat_fields import MAX_SESSION_CHARS
from shared.schemas.ids import REQUEST_ID_PATTERN
from shared.schemas.strict_json import load_json, load_object, validate

MAX_TEXT_CHARS = 16_384
MAX_FEEDBACK_BYTES = 262_144
"""Largest body: the longest text with each character as two escapes of six bytes, and some margin."""

MAX_BATCH = 1000
"""Most ratings of one body."""

_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")


class FeedbackRequest(Struct, frozen=True):
    """A validated rating of a request, or of all steps of the session `session_id`, where `request_id` is empty.

    `score` is in [0, 1]; unknown fields are ignored.
    """

    request_id: str
    score: float
    text: str | None
    source: Source = Source.USER
    session_id: str | None = None


class RatingFields(BaseModel):
    """Body of a rating by a signed link, which names the request."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    feedback_text: str | None = None


class FeedbackFields(RatingFields):
    """Body of a rating: of one request, or of a session."""

    request_id: Annotated[str, Field(pattern=REQUEST_ID_PATTERN)] | None = None
    session_id: Annotated[str, Field(min_length=1, max_length=MAX_SESSION_CHARS)] | None = None
    source: Literal["user", "eval", "judge", "check", "implicit"] = "user"


NO_OBJECT = "A rating must be a JSON object."

Feedback = FeedbackRequest | list[FeedbackRequest | ClientError]


def parse_feedback(raw: bytes) -> Feedback:
    """Parse and validate a feedback body: one rating, or a list of them, each with an error of its own.

    Raises InvalidRequest, with the field named, or PayloadTooLarge.
    """
    content = load_json(raw)
    if not isinstance(content, list):
        return _feedback(content)
    if not 1 <= len(content) <= MAX_BATCH:
        raise InvalidRequest(f"A list has 1 to {MAX_BATCH} ratings.", code="invalid_value")
    if not any(isinstance(item, dict) for item in content):
        raise InvalidRequest(NO_OBJECT, code="invalid_json")
    return [_feedback_or_error(item) for item in content]


def _feedback_or_error(content: object) -> FeedbackRequest | ClientError:
    try:
        return _feedback(content)
    except ClientError as error:
        return error


def _feedback(content: object) -> FeedbackRequest:
    if not isinstance(content, dict):
        raise InvalidRequest(NO_OBJECT, code="invalid_json")
    fields = validate(FeedbackFields, content)
    if fields.request_id is None and fields.session_id is None:
        raise InvalidRequest("Name a request or a session.", code="missing_required_parameter", param="request_id")
    if fields.request_id is not None and fields.session_id is not None:
        raise InvalidRequest("Name a request or a session, not both.", code="invalid_value", param="session_id")
    rating = _request(fields, fields.request_id or "")
    return structs.replace(rating, source=Source(fields.source), session_id=fields.session_id)


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
