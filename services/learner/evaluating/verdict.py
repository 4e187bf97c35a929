"""Parser of the judge's verdict. Models wrap JSON in prose, code fences and thoughts: the last valid verdict counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from services.learner.evaluating.rubric import Rubric

MAX_CHARS = 8_000
"""End of the judge's text in which a verdict is looked for."""

_DECODER = json.JSONDecoder()


def scores_of(text: str, number: int, rubric: Rubric) -> tuple[float, ...] | None:
    """Return the scores of answers 1 to `number`; None where the text has no valid verdict on all of them."""
    last = None
    for found in _objects(text[-MAX_CHARS:]):
        grades = found.get("scores", found)
        if isinstance(grades, list) and len(grades) == number:
            grades = {str(at): grade for at, grade in enumerate(grades, 1)}
        if isinstance(grades, dict):
            scores = [_score(grades.get(str(at)), rubric) for at in range(1, number + 1)]
            valid = tuple(score for score in scores if score is not None)
            last = valid if len(valid) == number else last
    return last


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, those inside of others too, in the order of their first character."""
    at = text.find("{")
    while at >= 0:
        try:
            found, _ = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            pass
        else:
            yield found
        at = text.find("{", at + 1)


def _score(grade: object, rubric: Rubric) -> float | None:
    if isinstance(grade, bool) or not isinstance(grade, int | float | str):
        return None
    try:
        return rubric.score(float(grade))
    except (ValueError, OverflowError):
        return None
