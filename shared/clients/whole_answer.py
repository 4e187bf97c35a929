"""Parser of a whole answer: reads the facts that the router needs, and passes the body on unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.clients import lenient_json
from shared.clients.answers import (
    BadAnswer,
    choices_of,
    error_of,
    messages_of,
    model_of,
    parse_object,
    text_length_of,
)
from shared.clients.upstream_errors import garbage, of_error_body
from shared.clients.upstream_words import words_of
from shared.clients.usage import usage_of
from shared.errors import UpstreamError
from shared.schemas.tool_loops import call_ids_of
from shared.schemas.upstream import Answer

MAX_ERROR_BYTES = 64 * 1024

RefusalOf = Callable[[Mapping[str, Any]], UpstreamError]
"""Converts an error under status 200 to UpstreamError."""


def answer_of(raw: bytes, refusal: RefusalOf = of_error_body) -> Answer:
    """Return a whole answer. Raises UpstreamError."""
    try:
        body, raw = parse_object(raw)
        failure = error_of(body, choices_of(body))
        if failure is not None:
            raise refusal(failure)
        messages = messages_of(body)
    except BadAnswer as error:
        raise _unreadable(raw, str(error), refusal) from error
    return Answer(
        body=raw,
        usage=usage_of(body),
        model=model_of(body),
        chars=text_length_of(messages),
        calls=call_ids_of(messages),
    )


def _unreadable(raw: bytes, why: str, refusal: RefusalOf) -> UpstreamError:
    """Return what a body without an answer means: an error of some other shape, if it names a status."""
    if len(raw) <= MAX_ERROR_BYTES:
        try:
            body = lenient_json.loads(raw)
        except ValueError:
            return garbage(why)
        if words_of(body).status is not None:
            return refusal(body)
    return garbage(why)
