"""Kind vectors: the same everywhere, of norm 1, and what traits do to the kinds of prompt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import OPEN_BELOW, no_kinds
from shared.bandit.traits import EXTRA_DIMENSION, assign, kind_vector, place_of
from tests.support.kinds import unit_vectors

SYSTEM, OTHER = "system:5d2f00c2a1b7e94c", "system:3c91f6e08d54aa17"
DIMENSION = 16


def cosine(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Of the trait parts."""
    (text,) = unit_vectors(1, DIMENSION)
    first, second = kind_vector(text, one), kind_vector(text, other)
    return 2 * float(first[DIMENSION:] @ second[DIMENSION:])


@pytest.mark.parametrize(
    "traits",
    [
        (),
        (SYSTEM,),
        ("image",),
        ("system:no hex",),
        ("system:ab",),
        (SYSTEM, "tools:0a0b0c0d", "json", "script:Cyrl"),
        ("shape:0e7e7a71b2c3",),
        ("shape:0e7e7a71b2c3", SYSTEM),
        ("shape:no hex", SYSTEM),
    ],
)
def test_a_kind_vector_is_a_unit_vector(traits: tuple[str, ...]) -> None:
    """Float32, as long as text and traits, whatever stands in a trait."""
    for text in unit_vectors(5, DIMENSION):
        found = kind_vector(text, traits)
        assert found.dtype == np.float32
        assert found.shape == (DIMENSION + EXTRA_DIMENSION,)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_without_traits_it_is_the_text_alone() -> None:
    """And with traits it is half of the squared norm."""
    (text,) = unit_vectors(1, DIMENSION)
    alone, both = kind_vector(text, ()), kind_vector(text, (SYSTEM,))
    np.testing.assert_array_equal(alone, [*text, *[0.0] * EXTRA_DIMENSION])
    np.testing.assert_allclose(both[:DIMENSION], text * 0.5**0.5, rtol=1e-6)


def test_without_a_text_vector_of_the_right_size_there_is_no_place() -> None:
    """The embedder is away, or has another model."""
    assigner = Assigner(no_kinds(DIMENSION + EXTRA_DIMENSION))
    assign(assigner, unit_vectors(1, DIMENSION)[0], (SYSTEM,))
    assert place_of(assigner.kinds, None, (SYSTEM,)) is None
    assert place_of(assigner.kinds, unit_vectors(1, DIMENSION + 1)[0], (SYSTEM,)) is None


def test_the_vector_of_a_trait_is_the_same_in_every_process_and_version() -> None:
    """Stored kinds are sums of such vectors."""
    code = (
        "import numpy as np; from shared.bandit.traits import kind_vector;"
        f"print(kind_vector(np.float32([1]), ('image', '{SYSTEM}'))[:21].tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    expected = kind_vector(np.ones(1, dtype=np.float32), ("image", SYSTEM))
    assert printed.strip() == str(expected[:21].tolist())
    np.testing.assert_array_equal(np.sign(expected[13:21]), EXPECTED_SIGNS)


EXPECTED_SIGNS = [-1, 1, -1, 1, 1, 1, -1, 1]
"""The bits of the system hash's first byte, 5d."""


def test_other_traits_stand_apart_and_shared_ones_bring_together() -> None:
    """The system prompt and the tools name the application; the rest weighs half as much."""
    assert cosine((SYSTEM,), (SYSTEM,)) == pytest.approx(1)
    assert abs(cosine((SYSTEM,), (OTHER,))) < 0.4
    assert cosine((SYSTEM,), (SYSTEM, "image")) > 0.8
    assert 0.5 < cosine((SYSTEM, "tools:1"), (SYSTEM, "tools:2")) < 0.8
    assert cosine((SYSTEM,), ()) == 0


def kinds_of(requests: Sequence[tuple[int, tuple[str, ...]]]) -> list[int]:
    """The kinds of requests, each with the number of its text; the texts have little in common."""
    texts = np.eye(DIMENSION, dtype=np.float32)
    assigner = Assigner(no_kinds(DIMENSION + EXTRA_DIMENSION))
    return [assign(assigner, texts[text], traits) for text, traits in requests]


def test_the_same_text_of_two_applications_is_of_two_kinds() -> None:
    """Also beside requests without a system prompt."""
    requests = [(0, (SYSTEM,)), (0, (OTHER,)), (0, ())] * 3
    assert kinds_of(requests) == [0, 1, 2] * 3


def test_traits_that_all_requests_have_change_nothing() -> None:
    """One system prompt for all is none: the text alone tells kinds apart, and by the same cosine."""
    texts = unit_vectors(400, DIMENSION, groups=8, seed=3)
    found = []
    for traits in ((), (SYSTEM,)):
        assigner = Assigner(no_kinds(DIMENSION + EXTRA_DIMENSION))
        found.append([assign(assigner, text, traits) for text in texts])
    assert found[0] == found[1]
    assert len(set(found[0])) > 4


@pytest.mark.parametrize(("closeness", "new"), [(OPEN_BELOW - 0.02, True), (OPEN_BELOW + 0.02, False)])
@pytest.mark.parametrize("traits", [(), (SYSTEM,), (SYSTEM, "json")])
def test_a_text_opens_a_kind_at_the_same_cosine_whatever_the_traits(
    closeness: float, new: bool, traits: tuple[str, ...]
) -> None:
    """When it is assigned, and in the gateway's view of it."""
    first, other = np.eye(DIMENSION, dtype=np.float32)[:2]
    near = np.asarray(closeness * first + (1 - closeness**2) ** 0.5 * other, dtype=np.float32)
    assigner = Assigner(no_kinds(DIMENSION + EXTRA_DIMENSION))
    assign(assigner, first, traits)
    place = place_of(assigner.kinds, near, traits)
    assert place is not None
    assert (place.nearness < 1) == new
    assert assign(assigner, near, traits) == int(new)


def test_a_system_prompt_that_varies_a_little_is_of_one_application() -> None:
    """A dozen of 64 bits differ from request to request."""
    rng = np.random.default_rng(0)
    requests = []
    for _ in range(50):
        bits = int(SYSTEM.partition(":")[2], 16)
        for at in rng.choice(64, size=6, replace=False).tolist():
            bits ^= 1 << at
        requests.append((0, (f"system:{bits:016x}",)))
    assert set(kinds_of(requests)) == {0}
