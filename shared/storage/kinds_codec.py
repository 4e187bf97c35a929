"""Kinds of prompt as fields of a hash. Sums stay in double precision, so that reading them changes no later choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from shared.bandit.kinds import Example, Kinds
from shared.errors import CorruptState

Fields = dict[str, str | bytes | int]

_KIND, _MERGED, _EXAMPLES = "k:", "m:", "e:"


def fields_of(kinds: Kinds) -> Fields:
    """Return the hash: facts of the whole, and by id `k:` (count, mass, vectors), `m:` (merged into), `e:` (examples).

    The vectors are a sum; `ids` keeps the order of the rows.
    """
    fields: Fields = {
        "generation": kinds.generation,
        "model": kinds.model,
        "dimension": kinds.dimension,
        "order": kinds.order,
        "next_id": kinds.next_id,
        "ids": orjson.dumps(kinds.ids),
    }
    rows = np.column_stack((kinds.counts, kinds.masses, kinds.sums)).astype("<f8")
    fields |= {f"{_KIND}{kind}": row.tobytes() for kind, row in zip(kinds.ids, rows, strict=True)}
    fields |= {f"{_MERGED}{kind}": into for kind, into in kinds.merged.items()}
    return fields | {f"{_EXAMPLES}{kind}": examples_json(some) for kind, some in kinds.examples.items()}


def changed_fields(before: Kinds | None, after: Kinds) -> tuple[Fields, list[str]]:
    """Return the fields that differ in `after`, and the names of those that it no longer has."""
    old, new = {} if before is None else fields_of(before), fields_of(after)
    return {name: value for name, value in new.items() if old.get(name) != value}, sorted(old.keys() - new.keys())


def parse_kinds(fields: Mapping[bytes, bytes]) -> Kinds:
    """Read a hash of `fields_of`. Raises CorruptState."""
    try:
        ids = tuple(int(kind) for kind in orjson.loads(fields[b"ids"]))
        dimension = int(fields[b"dimension"])
        rows = [np.frombuffer(fields[f"{_KIND}{kind}".encode()], dtype="<f8") for kind in ids]
        merged = {int(name[2:]): int(into) for name, into in fields.items() if name.startswith(_MERGED.encode())}
        examples = {
            int(name[2:]): parse_examples(orjson.loads(some))
            for name, some in fields.items()
            if name.startswith(_EXAMPLES.encode())
        }
        table = np.array(rows, dtype=np.float64).reshape(len(ids), dimension + 2)
        kinds = Kinds(
            int(fields[b"generation"]),
            fields[b"model"].decode("utf-8", "replace"),
            int(fields[b"order"]),
            int(fields[b"next_id"]),
            ids,
            table[:, 0].copy(),
            table[:, 2:].copy(),
            merged,
            examples,
            table[:, 1].copy(),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptState(f"kinds: {type(error).__name__}") from error
    return checked(kinds)


def checked(kinds: Kinds) -> Kinds:
    """Return kinds that were read. Raises CorruptState where they contradict themselves."""
    if len(set(kinds.ids)) != len(kinds.ids) or kinds.counts.shape != (len(kinds.ids),):
        raise CorruptState("kinds: an id is there twice, or a count is missing")
    amounts = np.concatenate((kinds.counts, kinds.masses))
    if not np.isfinite(kinds.sums).all() or not np.isfinite(amounts).all() or (amounts <= 0).any():
        raise CorruptState("kinds: a count or a sum is not in range")
    merged, live = kinds.merged, set(kinds.ids)
    ends = dict(merged)
    for _ in range(len(merged).bit_length() + 1):  # each round doubles the steps that are followed
        ends = {kind: ends.get(into, into) for kind, into in ends.items()}
    if not live.issuperset(ends.values()) or live.intersection(merged):
        raise CorruptState("kinds: one was merged into a kind that is not there")
    return kinds


def examples_json(examples: tuple[Example, ...]) -> bytes:
    """Return examples as a JSON list of [request id, similarity]."""
    return orjson.dumps([[one.request_id, one.similarity] for one in examples])


def parse_examples(rows: Any) -> tuple[Example, ...]:
    """Read the list of `examples_json`. Raises ValueError or TypeError."""
    return tuple(Example(str(request_id), float(similarity)) for request_id, similarity in rows)
