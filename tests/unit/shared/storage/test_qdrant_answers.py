"""Descriptions of a collection: which of them fit a model."""

from __future__ import annotations

import pytest

from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_answers import WrongCollection, is_complete
from shared.storage.qdrant_setup import INDEXES

MODEL = EmbeddingModel("test-4", 4)


def described(size: int = 4, distance: str = "Cosine") -> dict[str, object]:
    return {
        "config": {"params": {"vectors": {"size": size, "distance": distance}}},
        "payload_schema": {name: {"data_type": kind} for name, kind in INDEXES.items()},
    }


@pytest.mark.parametrize("other", [described(size=5), described(distance="Dot")])
def test_a_collection_of_other_vectors_is_refused(other: dict[str, object]) -> None:
    """Another dimension or distance is an error at the start, not a wrong neighbour later."""
    assert is_complete(described(), MODEL)
    with pytest.raises(WrongCollection, match="expected Cosine of 4"):
        is_complete(other, MODEL)
