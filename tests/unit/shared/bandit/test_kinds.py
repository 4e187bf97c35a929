"""Kinds of prompt: which requests open, join and merge them, and that nothing but their order matters."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import (
    EXAMPLES,
    FORGET_EVERY,
    KEPT,
    MAX_KINDS,
    OPEN_BELOW,
    Kinds,
    Place,
    merge_costs,
    nearness,
    no_kinds,
    unit_rows,
)
from shared.bandit.traits import place_of
from tests.support.bandit_worlds import kinds_at, unit
from tests.support.kinds import same
from tests.support.values import replace

Vectors = NDArray[np.float32]


def new_topics(topics: int = 150, each: int = 6, *, seed: int = 1, dimension: int = 48) -> Vectors:
    """Return unit vectors of so many topics, one topic after the other: kinds run out, and some are merged."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(topics, dimension)) / dimension**0.5, each, axis=0)
    rows = centres + rng.normal(size=centres.shape) * 0.15
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def assigned(vectors: Vectors, kinds: Kinds | None = None) -> tuple[Kinds, list[int]]:
    """Return the kinds after these requests, and the id that each was counted in."""
    assigner = Assigner(no_kinds(vectors.shape[1]) if kinds is None else kinds)
    ids = [assigner.assign(vector, f"r{at}") for at, vector in enumerate(vectors)]
    return assigner.kinds, ids


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 360), max_size=4))
def test_nothing_but_the_order_of_the_requests_matters(seed: int, stops: list[int]) -> None:
    """Where the state was handed on to another assigner in between changes neither the ids nor a bit of the state."""
    vectors = new_topics(60, seed=seed)
    whole, ids = assigned(vectors)
    kinds, found = no_kinds(vectors.shape[1]), list[int]()
    for start, end in zip([0, *sorted(stops)], [*sorted(stops), len(vectors)], strict=True):
        assigner = Assigner(kinds)
        found += [assigner.assign(vectors[at], f"r{at}") for at in range(start, end)]
        kinds = assigner.kinds
    assert found == ids
    assert same(kinds, whole)


def test_a_request_joins_a_kind_that_is_near_and_opens_one_otherwise() -> None:
    """While there is room, the cosine to the nearest centre alone decides."""
    below, above = math.acos(OPEN_BELOW) + 0.01, math.acos(OPEN_BELOW) - 0.01
    for angle, expected in ((below, [0, 1]), (above, [0, 0])):
        vectors = np.array([unit(1, 0), unit(math.cos(angle), math.sin(angle))])
        kinds, ids = assigned(vectors)
        assert ids == expected
        assert kinds.counts.sum() == kinds.order == 2
        assert kinds.next_id == len(set(expected))


def test_centres_are_means_of_what_was_counted() -> None:
    """Counts and sums of vectors are those of the requests with that id, through every merge; older ones have faded."""
    vectors = new_topics()
    kinds, ids = assigned(vectors)
    numbers = np.arange(len(vectors))
    weights = KEPT ** (len(vectors) // FORGET_EVERY - numbers // FORGET_EVERY)
    assert weights.min() < weights.max() == 1
    assert len(kinds.ids) == MAX_KINDS
    assert kinds.merged
    roots = np.array([kinds.root(kind) for kind in ids])
    assert set(roots.tolist()) == set(kinds.ids)
    for row, kind in enumerate(kinds.ids):
        own = vectors[roots == kind].astype(np.float64) * weights[roots == kind, None]
        assert kinds.counts[row] == len(own)
        assert kinds.masses[row] == pytest.approx(weights[roots == kind].sum())
        assert kinds.sums[row] == pytest.approx(own.sum(axis=0), abs=1e-9)
        centre = own.sum(axis=0) / np.linalg.norm(own.sum(axis=0))
        assert kinds.centres[row] == pytest.approx(centre, abs=1e-6)
    assert kinds.order == len(vectors)


def test_the_cheapest_pair_is_merged_where_that_costs_less_than_joining() -> None:
    """With all kinds in use: each step is the one that adds least to the squared distances, by brute force."""
    vectors = new_topics()
    kinds, _ = assigned(vectors[:210])
    pairs = np.array(list(combinations(range(MAX_KINDS), 2)))
    merges = joins = 0
    for vector in vectors[210:330]:
        rows = unit_rows(kinds.sums)
        cosines = rows @ vector
        nearest = int(cosines.argmax())
        assigner = Assigner(kinds)
        found = assigner.assign(vector)
        after = assigner.kinds
        if len(kinds.ids) == MAX_KINDS and cosines[nearest] < OPEN_BELOW:
            first, second = kinds.masses[pairs].T
            costs = 2 * first * second / (first + second) * (1 - (rows[pairs[:, 0]] * rows[pairs[:, 1]]).sum(axis=1))
            pair = pairs[costs.argmin()].tolist()
            joining = 2 * kinds.masses[nearest] / (kinds.masses[nearest] + 1) * (1 - cosines[nearest])
            gone = set(after.merged) - set(kinds.merged)
            if costs.min() < joining:
                merges += 1
                into = after.merged[next(iter(gone))]
                assert len(gone) == 1
                assert {*gone, into} == {kinds.ids[row] for row in pair}
                assert kinds.counts[kinds.ids.index(into)] == kinds.counts[pair].max()
                assert found == kinds.next_id
            else:
                joins += 1
                assert not gone
                assert found == kinds.ids[nearest]
        kinds = after
    assert merges > 9
    assert joins > 5


def test_what_a_merge_costs_is_what_the_squared_distances_grow_by() -> None:
    """Half of Ward's cost is the growth of the sum of squared distances, for kinds whose members are alike."""
    a, b = np.tile(unit(1, 0), (4, 1)), np.tile(unit(0.8, 0.6), (6, 1))
    cost = merge_costs(np.array([4.0, 6.0]), np.array([[1.0, 0.8], [0.8, 1.0]]))
    together = np.vstack((a, b))
    assert cost[0, 1] == pytest.approx(float(((together - together.mean(axis=0)) ** 2).sum()), rel=1e-6)
    assert np.isinf(np.diag(cost)).all()


def test_an_alias_may_be_merged_again() -> None:
    """Every id that was ever given leads to one that is in use, however long the chain."""
    kinds, _ = assigned(new_topics())
    assert set(kinds.merged) | set(kinds.ids) == set(range(kinds.next_id))
    assert not set(kinds.merged) & set(kinds.ids)
    assert {kinds.root(kind) for kind in range(kinds.next_id)} == set(kinds.ids)
    assert any(into in kinds.merged for into in kinds.merged.values())
    chain = replace(kinds_at((1, 0)), merged={5: 3, 3: 2, 2: 0})
    assert [chain.root(kind) for kind in (5, 3, 2, 0)] == [0, 0, 0, 0]


def test_a_kind_keeps_the_requests_most_like_its_centre_as_examples() -> None:
    """The nearest ones first, of both kinds after a merge; requests without an id are none."""
    kinds, ids = assigned(new_topics())
    assert set(kinds.examples) <= set(kinds.ids)
    for kind, examples in kinds.examples.items():
        assert 0 < len(examples) <= EXAMPLES
        assert [one.similarity for one in examples] == sorted((one.similarity for one in examples), reverse=True)
        assert {kinds.root(ids[int(one.request_id[1:])]) for one in examples} == {kind}
    counts = dict(zip(kinds.ids, kinds.counts.tolist(), strict=True))
    assert all(len(kinds.examples[kind]) == min(counts[kind], EXAMPLES) for kind in kinds.ids)
    assigner = Assigner(no_kinds(4))
    assigner.assign(unit(1, 0, 0, 0))
    assert assigner.kinds.examples == {}


def test_the_request_that_opened_a_kind_gives_way_as_an_example() -> None:
    """It had no centre to be near to: three later ones replace it, however near they are."""
    assigner = Assigner(no_kinds(2))
    for at, angle in enumerate((0.0, 0.9, 0.8, 0.7)):
        assigner.assign(unit(float(np.cos(angle)), float(np.sin(angle))), f"r{at}")
    ((kind, examples),) = assigner.kinds.examples.items()
    assert kind == 0
    assert {one.request_id for one in examples} == {"r1", "r2", "r3"}


def test_a_place_is_the_nearest_kind_and_how_near_it_is() -> None:
    """1 where the prompt would be counted there; the similarity where it would open a kind; None without a vector."""
    kinds = kinds_at((1, 0, 0), (0, 1, 0))
    assert place_of(kinds, unit(0.2, 0.9, 0), ()) == Place(1, 1.0)
    far = place_of(kinds, unit(0.1, 0.3, 0.95), ())
    assert far is not None
    assert far.row == 1
    assert far.nearness == pytest.approx(math.exp(2 * (0.3 / np.linalg.norm([0.1, 0.3, 0.95]) - 1)), abs=1e-5)
    assert place_of(kinds, None, ()) is None
    assert place_of(kinds, np.ones(7, dtype=np.float32), ()) is None
    assert no_kinds(3).place(unit(1, 0, 0)) is None
    assert (nearness(1.0), nearness(1.5)) == (1.0, 1.0)


@pytest.mark.parametrize("requests", [100, 240])
def test_a_place_says_what_an_assignment_would_do(requests: int) -> None:
    """Nearness is below 1 exactly where the next request opens a kind, with room and without."""
    vectors = new_topics()
    kinds, _ = assigned(vectors[:requests])
    assert (len(kinds.ids) == MAX_KINDS) == (requests == 240)
    opened = 0
    for vector in vectors[::9]:
        place = kinds.place(vector)
        assert place is not None
        found = Assigner(kinds).assign(vector)
        opened += found == kinds.next_id
        assert (place.nearness < 1.0) == (found == kinds.next_id)
        assert found in {kinds.ids[place.row], kinds.next_id}
    assert 0 < opened < 100


def test_a_new_topic_opens_kinds_where_the_traffic_has_left_others() -> None:
    """Those are light, and make room."""
    rng = np.random.default_rng(5)
    topics = rng.standard_normal((300, 48))

    def prompts(topic: int, number: int) -> NDArray[np.float32]:
        vectors = topics[topic] + 1.2 * rng.standard_normal((number, 48))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    assigner = Assigner(no_kinds(48))
    for topic in (*(number % 290 for number in range(2000)), *(290 + number % 5 for number in range(5000))):
        assigner.assign(prompts(topic, 1)[0])
    before = assigner.kinds
    assert (len(before.ids), int(before.counts.sum())) == (MAX_KINDS, 7000)
    assert before.masses.sum() == pytest.approx(FORGET_EVERY / (1 - KEPT), rel=0.15)
    found = [before.root(kind) if kind < before.next_id else kind for kind in map(assigner.assign, prompts(299, 60))]
    assert sum(kind >= before.next_id for kind in found) > 30


def test_a_new_topic_takes_over_a_kind_where_the_traffic_stays_diverse() -> None:
    """With all kinds in use and none light enough to be merged, it is still most of what the kinds it joins count."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((151, 48)) / 48**0.5

    def prompt(topic: int) -> NDArray[np.float32]:
        vector = topics[topic] + 0.15 * rng.standard_normal(48)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    asked = [*rng.choice(150, size=4000).tolist(), *([150, *rng.choice(150, size=2).tolist()] * 150)]
    assigner = Assigner(no_kinds(48))
    ids = [assigner.assign(prompt(topic)) for topic in asked]
    kinds, of_new = assigner.kinds, np.array(asked) == 150
    assert len(kinds.ids) == MAX_KINDS
    roots = np.array([kinds.root(kind) for kind in ids])
    own = [of_new[roots == root].mean() > 0.5 for root in roots[of_new].tolist()]
    assert np.mean(own) > 0.75


def test_aliases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are remembered, and name the kind of today."""
    monkeypatch.setattr("shared.bandit.assigner.MOST_ALIASES", 16)
    rng = np.random.default_rng(6)
    assigner = Assigner(no_kinds(32))
    ids = []
    for _ in range(2000):
        vector = rng.standard_normal(32)
        ids.append(assigner.assign((vector / np.linalg.norm(vector)).astype(np.float32)))
    kinds = assigner.kinds
    assert kinds.next_id > 16 + MAX_KINDS
    assert 8 <= len(kinds.merged) <= 16
    assert min(kinds.merged) > 0
    assert set(kinds.merged.values()) <= set(kinds.ids) | set(kinds.merged)
