"""Kinds of prompt to test with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import Kinds, no_kinds
from shared.storage.kinds_codec import Fields, fields_of, parse_kinds
from tests.support.values import replace


def unit_vectors(number: int, dimension: int = 4, *, seed: int = 0, groups: int = 0) -> NDArray[np.float32]:
    """Random unit vectors, (number, dimension), around so many centres if `groups` is set."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(number, dimension))
    if groups:
        rows = rng.normal(size=(groups, dimension))[rng.integers(groups, size=number)] + rows / 4
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def some_kinds(number: int = 100, dimension: int = 4, *, seed: int = 0, order: int = 0) -> Kinds:
    """The kinds of so many random requests, under the model of the test records."""
    assigner = Assigner(replace(no_kinds(dimension, model="test-4"), order=order))
    for at, vector in enumerate(unit_vectors(number, dimension, seed=seed)):
        assigner.assign(vector, f"request-{at}")
    return assigner.kinds


def same(one: Kinds | None, other: Kinds | None) -> bool:
    """Whether two states are equal, bit for bit."""
    return one is not None and other is not None and fields_of(one) == fields_of(other)


def stored(fields: Fields) -> dict[bytes, bytes]:
    """Return fields as Redis returns them."""
    return {name.encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()}


def read_again(kinds: Kinds) -> Kinds:
    """Return kinds as they come back from the store."""
    return parse_kinds(stored(fields_of(kinds)))


def changed(before: Mapping[str, object], fields: Fields, gone: list[str]) -> dict[str, object]:
    """Return stored fields after a change."""
    return {name: value for name, value in {**before, **fields}.items() if name not in gone}
