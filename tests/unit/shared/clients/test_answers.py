"""Errors in answers of status 200, as opposed to answers that only carry an empty error field."""

from __future__ import annotations

import orjson
import pytest

from shared.clients.answers import answer_of, error_of
from shared.errors import UpstreamError

CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]


@pytest.mark.parametrize("error", [None, {}, "", [], False, 0])
def test_an_empty_error_is_none(error: object) -> None:
    """OpenAI's SDKs look whether the field is true; an answer with an empty one is whole, and was paid for."""
    body = {"choices": CHOICES, "error": error}
    assert error_of(body, []) is None
    assert answer_of(orjson.dumps(body)).chars == 2


@pytest.mark.parametrize("error", ["no", {"code": 500}, ["no"], True])
def test_any_other_error_is_one(error: object) -> None:
    """Whatever its shape."""
    with pytest.raises(UpstreamError):
        answer_of(orjson.dumps({"choices": CHOICES, "error": error}))
