"""Lines of an export: what each source said of a request, and no text."""

from __future__ import annotations

import orjson

from services.learner.commands.export import line
from shared.bandit.sources import Source
from shared.schemas.history import PastRating, PastRequest
from tests.support.evaluations import an_evaluation
from tests.support.sample_records import a_new_record

NOW = 1_795_000_000.25


def test_ratings_of_users_and_scores_of_others_are_told_apart() -> None:
    """`score` is what users said; of others the last revision counts, also where it was withdrawn."""
    entry = a_new_record(NOW)
    own = entry.record.id
    ratings = (
        PastRating(own, 1, 0.25, "secret words", NOW),
        PastRating(own, 2, 0.5, None, NOW + 1),
        PastRating(own, 1, 0.75, None, NOW, Source.EVAL),
        PastRating(own, 2, 1.0, None, NOW, Source.EVAL),
        PastRating(own, 1, None, None, NOW, Source.SESSION),
    )
    written = line(PastRequest(entry, ratings, evaluation=an_evaluation(0.75, 0.5)), vectors=False)
    content = orjson.loads(written)
    assert content["score"] == 0.5
    assert [(each["revision"], each["score"]) for each in content["feedback"]] == [(1, 0.25), (2, 0.5)]
    assert content["scores"] == {"eval": 1.0, "session": None}
    assert [each["score"] for each in content["evaluation"]["candidates"]] == [0.75, 0.5, None]
    assert b"secret" not in written
    bare = orjson.loads(line(PastRequest(entry), vectors=False))
    assert (bare["score"], bare["scores"], bare["evaluation"]) == (None, {}, None)
