"""Mapping between kinds of prompt and rows of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from psycopg.types.json import Json

from shared.bandit.kinds import Kinds
from shared.errors import CorruptState
from shared.schemas.history import PastAssignment
from shared.schemas.storage import Assignment
from shared.storage.kinds_codec import checked, examples_json, parse_examples

Row = Mapping[str, Any]

KINDS_COLUMNS = (
    "place", "generation", "embedding_model", "dimension", "next_id", "ids", "counts", "masses", "sums",
    "merged", "examples",
)  # fmt: skip


def kinds_row(kinds: Kinds) -> Sequence[Any]:
    """Return the row of a snapshot."""
    sums = np.ascontiguousarray(kinds.sums, dtype="<f8").tobytes()
    examples = {kind: orjson.loads(examples_json(some)) for kind, some in kinds.examples.items()}
    return (
        kinds.order, kinds.generation, kinds.model, kinds.dimension, kinds.next_id, list(kinds.ids),
        kinds.counts.tolist(), kinds.masses.tolist(), sums, Json(dict(kinds.merged)), Json(examples),
    )  # fmt: skip


def past_kinds(row: Row) -> Kinds:
    """Return the kinds of a row. Raises CorruptState."""
    try:
        sums = np.frombuffer(row["sums"], dtype="<f8").astype(np.float64).reshape(len(row["ids"]), row["dimension"])
        merged = {int(kind): int(into) for kind, into in row["merged"].items()}
        examples = {int(kind): parse_examples(some) for kind, some in row["examples"].items()}
        kinds = Kinds(
            row["generation"], row["embedding_model"], row["place"], row["next_id"], tuple(row["ids"]),
            np.array(row["counts"], dtype=np.float64), sums, merged, examples,
            np.array(row["masses"], dtype=np.float64),
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise CorruptState(f"kinds: {type(error).__name__}") from error
    return checked(kinds)


def past_assignment(row: Row) -> PastAssignment:
    """Return an assignment of the joined row."""
    return PastAssignment(
        str(row["id"] or ""),
        Assignment((row["cluster_epoch"], row["cluster"]), row["assigned"]),
        np.frombuffer(row["vector"], dtype="<f4").astype(np.float32, copy=False),
        row["embedding_model"] or "",
        tuple(row["traits"] or ()),
    )
