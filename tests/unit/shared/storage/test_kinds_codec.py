"""Kinds of prompt as stored fields: reading them changes no later assignment, and damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import MAX_KINDS, Example, no_kinds
from shared.bandit.traits import EXTRA_DIMENSION
from shared.errors import CorruptState
from shared.schemas.history import OldClusters
from shared.schemas.storage import counted_kind
from shared.storage.kinds_codec import changed_fields, fields_of, parse_kinds
from tests.support.kinds import changed, read_again, same, some_kinds, stored, unit_vectors
from tests.support.values import replace


@pytest.mark.parametrize(("dimension", "groups"), [(64, 300), (256, 0), (7, 0)])
def test_stored_in_between_the_assignments_are_the_same(dimension: int, groups: int) -> None:
    """3,000 requests in one go, and in batches of random size with a round trip after each: equal bit for bit."""
    vectors, rng = unit_vectors(3000, dimension, seed=dimension, groups=groups), np.random.default_rng(1)
    straight = Assigner(no_kinds(dimension))
    expected = [straight.assign(vector, str(at)) for at, vector in enumerate(vectors)]
    kinds, found = no_kinds(dimension), list[int]()
    while len(found) < len(vectors):
        assigner = Assigner(kinds)
        start, size = len(found), int(rng.integers(1, 120))
        found += [assigner.assign(vector, str(at)) for at, vector in enumerate(vectors[start : start + size], start)]
        kinds = read_again(assigner.kinds)
    assert found == expected
    assert same(kinds, straight.kinds)
    assert len(kinds.ids) == MAX_KINDS or dimension == 7
    assert kinds.merged or dimension == 7
    assert (kinds.order, kinds.counts.sum()) == (3000, 3000)


def test_only_what_has_changed_is_written() -> None:
    """One request more changes its kind and the facts of the whole; nothing is left of a kind that was merged."""
    kinds = some_kinds(63, 256)
    size, fields = len(fields_of(kinds)), fields_of(kinds)
    for vector in unit_vectors(40, 256, seed=9):
        assigner = Assigner(kinds)
        assigner.assign(vector, "another")
        after = assigner.kinds
        more, gone = changed_fields(kinds, after)
        assert len(more) + len(gone) <= 12 < size
        fields = changed(fields, more, gone)  # type: ignore[assignment]  # the same fields
        assert fields == fields_of(after)
        kinds = after
    assert kinds.merged


def test_the_order_of_the_rows_is_kept() -> None:
    """Of kinds that are equally near the first one is chosen."""
    kinds = some_kinds(500, 256)
    assert kinds.ids != tuple(sorted(kinds.ids)), "merging moves rows"
    assert read_again(kinds).ids == kinds.ids
    assert read_again(kinds).examples == kinds.examples


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order", b"x"),
        ("ids", b"[0,0]"),
        ("ids", b"[0"),
        ("dimension", b"5"),
        ("k:0", b"short"),
        ("k:0", b"\xff" * 40),
        ("m:99", b"98"),
        ("e:0", b"[1]"),
        ("generation", None),
        ("k:1", None),
    ],
)
def test_damage_is_noticed(field: str, value: bytes | None) -> None:
    """A missing field, a wrong size, a number that is none."""
    fields = stored(fields_of(some_kinds()))
    fields.pop(field.encode(), None)
    if value is not None:
        fields[field.encode()] = value
    with pytest.raises(CorruptState, match="kinds"):
        parse_kinds(fields)


def test_a_circle_of_merged_kinds_is_noticed() -> None:
    """Else a reader would follow it for ever."""
    kinds = some_kinds()
    for merged in ({90: 91, 91: 90}, {90: 90}, {kinds.ids[0]: kinds.ids[1]}):
        with pytest.raises(CorruptState, match="merged"):
            read_again(replace(kinds, merged=merged))
    chain = {90 + at: 91 + at for at in range(50)} | {140: kinds.ids[0]}
    assert read_again(replace(kinds, merged=chain)).root(90) == kinds.ids[0]


def test_clusters_of_an_earlier_version_become_kinds() -> None:
    """Their ids are the numbers of the clusters, so that sums counted by them stay valid; an empty one counts 1."""
    centres = unit_vectors(3)
    kinds = OldClusters(7, centres, "model").kinds([10, 0, 5], order=1000)
    assert (kinds.generation, kinds.model, kinds.order, kinds.next_id) == (7, "model", 1000, 3)
    assert (kinds.ids, kinds.counts.tolist()) == ((0, 1, 2), [10, 1, 5])
    np.testing.assert_allclose(kinds.centres[:, :4], centres, atol=1e-6)
    np.testing.assert_array_equal(kinds.sums[0, :4], 10 * centres[0].astype(np.float64))
    assert kinds.sums.shape == (3, 4 + EXTRA_DIMENSION)
    assert not kinds.sums[:, 4:].any(), "clusters were found in texts alone"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("requests@3.7", (3, 7)),
        ("labels@12.345~6", (12, 345)),
        ("failures@1.2|vendor/model@9.9", (1, 2)),
        ("failures|vendor/model@9.9", None),
        ("labels~3", None),
        ("requests", None),
    ],
)
def test_the_kind_of_a_contribution_is_read_from_its_fields(name: str, kind: tuple[int, int] | None) -> None:
    """Whatever stands behind it; a model's name is not part of a field."""
    assert counted_kind(["latency_us", name]) == kind


def test_examples_are_kept_with_their_similarity() -> None:
    """As they were assigned."""
    kinds = replace(some_kinds(5), examples={0: (Example("a", 0.9876), Example("b", 0.5))})
    assert read_again(kinds).examples == kinds.examples
