"""Ratings: form fields and JSON bodies."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest
from shared.schemas.feedback import parse_rating


def test_an_empty_field_of_a_form_is_no_field() -> None:
    """The page sends the text's field always; left blank, the rating has no words."""
    assert parse_rating(b"feedback_text=&score=0.5", "an-id", form=True).text is None
    assert parse_rating(b"feedback_text=well+done&score=1", "an-id", form=True).text == "well done"
    with pytest.raises(InvalidRequest):
        parse_rating(b"feedback_text=good&score=", "an-id", form=True)
