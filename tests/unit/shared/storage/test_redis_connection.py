"""Answers of what is not Redis, or has lost its place among the answers."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import DependencyError
from shared.storage.redis_connection import texts_of


def test_texts_are_decoded() -> None:
    """Also those that are not UTF-8."""
    assert texts_of([b"new", b"1.5", b"\xff"]) == ["new", "1.5", "\ufffd"]


@pytest.mark.parametrize("answer", [None, 1, b"OK", "OK", [], [1], [b"new", None], [[b"new"]], {}])
def test_any_other_answer_is_a_failure_of_redis(answer: Any) -> None:
    """A request then goes on as it does without Redis, and is no fault of ours."""
    with pytest.raises(DependencyError, match="cannot be read"):
        texts_of(answer)
