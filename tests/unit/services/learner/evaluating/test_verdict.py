"""Verdicts as models write them: JSON among prose, fences and thoughts, or nothing that can be used."""

from __future__ import annotations

import pytest

from services.learner.evaluating.rubric import Rubric
from services.learner.evaluating.verdict import scores_of

ZERO_TO_ONE = Rubric("text")


@pytest.mark.parametrize(
    "text",
    [
        '{"scores": {"1": 0.9, "2": 0.25}}',
        '```json\n{"scores": {"1": 0.9, "2": 0.25}}\n```',
        '<think>{"scores": {"1": 0.1, "2": 0.1}} no, better</think>\nHere: {"scores": {"1": 0.9, "2": 0.25}} as asked.',
        '{"1": 0.9, "2": 0.25}',
        '{"scores": {"1": "0.9", "2": "0.25"}, "reasons": {"1": "good", "2": "bad"}}',
        '{"scores": [0.9, 0.25]}',
        '{"scores": {"1": 0.9, "2": 0.25}',
        '{"result": {"scores": {"2": 0.25, "1": 0.9}}}',
        'Braces { and {"broken": come first. {"scores": {"1": 0.9, "2": 0.25}}',
    ],
)
def test_a_verdict_is_found(text: str) -> None:
    """Whatever is around it; the last valid one counts."""
    assert scores_of(text, 2, ZERO_TO_ONE) == (0.9, 0.25)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Both are good.",
        '{"scores": {"1": 0.9}}',
        '{"scores": {"1": 0.9, "2": 1.5}}',
        '{"scores": {"1": 0.9, "2": -0.1}}',
        '{"scores": {"1": 0.9, "2": NaN}}',
        '{"scores": {"1": 0.9, "2": true}}',
        '{"scores": {"1": 0.9, "2": null}}',
        '{"scores": {"1": 0.9, "2": "good"}}',
        '{"scores": [0.9, 0.25, 0.5]}',
        '{"scores": {"1": 0.9, "2": 0.2',
        '{"a":' * 5_000,
        "{" * 100_000,
    ],
)
def test_what_is_no_verdict_is_none(text: str) -> None:
    """Scores are missing, off the scale or no numbers; nothing is guessed."""
    assert scores_of(text, 2, ZERO_TO_ONE) is None


def test_grades_are_mapped_to_scores_by_the_scale_of_the_rubric() -> None:
    """From 1 to 5, a 4 is three quarters of the way; 0 is not on the scale."""
    rubric = Rubric("text", 1, 5)
    assert scores_of('{"scores": {"1": 1, "2": 4, "3": 5}}', 3, rubric) == (0.0, 0.75, 1.0)
    assert scores_of('{"scores": {"1": 0}}', 1, rubric) is None
