"""Sources of evidence on the quality of an answer."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Source of a score between 0 and 1. Users' own fields of the sums carry no name of a source."""

    USER = "user"  # a rating by the person who asked
    EVAL = "eval"  # a test set of the operator, or an external evaluation
    JUDGE = "judge"  # a model that scores answers by a rubric
    CHECK = "check"  # a check without a model: empty, cut off, refused, not in the asked format
    SESSION = "session"  # a rating of a whole conversation by its user, credited to each of its steps
    IMPLICIT = "implicit"  # what a user does next: asks again, cancels
