"""Kind vector of a request: the unit vector of the user's text beside those of its shape and of the request's traits.

A trait is a short string: a hash of the system prompt, `tools:…`, `image`, … (`shared/schemas/traits.py`). Each stands
for a fixed pseudo-random unit vector, so that different traits are about orthogonal; the bits of a similarity hash are
one themselves. Traits of one request are added by weight and scaled to norm 1. The kind vector is

    (sqrt(1 - w) (sqrt(1 - v) text, sqrt(v) shape), sqrt(w) traits),        v = .15, w = 1/2

with v = 0 where no shape is known (`shape.py`; a trait as well: `shape:…`), and w = 0 where there are no other traits,

so that the cosine of two kind vectors is the mean of both parts' cosines. It is computed when it is needed: a stored
request keeps its text vector and its traits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from shared.bandit.assigner import Assigner
from shared.bandit.context import Vector
from shared.bandit.kinds import Kinds, Place
from shared.bandit.shape import FIGURES, shape_vector

TRAIT_DIMENSION = 64
"""Numbers of the traits in a kind vector."""

EXTRA_DIMENSION = FIGURES + TRAIT_DIMENSION
"""Numbers of a kind vector beside the text's."""

SHAPE_SHARE = 0.15
"""v: the share of the shape in the squared norm of what the text says."""

TRAIT_SHARE = 0.5
"""w: the share of the traits in the squared norm."""

SMALL = 0.5
"""Weight of any other trait beside the system prompt's and the tools', which are 1: those name the application."""

_SYSTEM, _TOOLS, _SHAPE = "system:", "tools:", "shape:"


def kind_vector(vector: Vector, traits: tuple[str, ...]) -> Vector:
    """Return the kind vector, (d + EXTRA_DIMENSION,) float32 of norm 1."""
    scale, extra = _extra(traits)
    return np.concatenate((vector * scale, extra))


def place_of(kinds: Kinds, vector: Vector | None, traits: tuple[str, ...]) -> Place | None:
    """Return where a request falls among the kinds; None where it has no vector of the right size."""
    return None if vector is None else kinds.place(kind_vector(vector, traits), TRAIT_DIMENSION)


def assign(assigner: Assigner, vector: Vector, traits: tuple[str, ...], request_id: str = "") -> int:
    """Count a request in its kind, and return the kind's id."""
    return assigner.assign(kind_vector(vector, traits), request_id, TRAIT_DIMENSION)


@lru_cache(maxsize=4096)
def _extra(traits: tuple[str, ...]) -> tuple[np.float32, Vector]:
    """Return what scales the text's vector, and what follows it."""
    shapes = [trait.removeprefix(_SHAPE) for trait in traits if trait.startswith(_SHAPE)]
    others = tuple(trait for trait in traits if not trait.startswith(_SHAPE))
    shape = shape_vector(shapes[0]) if shapes else np.zeros(FIGURES, dtype=np.float32)
    shape_share = SHAPE_SHARE if shape.any() else 0.0
    rest = 1.0 - TRAIT_SHARE if others else 1.0
    made = np.concatenate((math.sqrt(rest * shape_share) * shape, _scaled(others))).astype(np.float32)
    made.setflags(write=False)
    return np.float32(math.sqrt(rest * (1.0 - shape_share))), made


@lru_cache(maxsize=4096)
def _scaled(traits: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the traits' part of a kind vector. Its sums are exact, so that every machine gets the same numbers."""
    if not traits:
        return np.zeros(TRAIT_DIMENSION)
    weights = [1.0 if trait.startswith((_SYSTEM, _TOOLS)) else SMALL for trait in traits]
    total = np.array(weights) @ np.array([_signs(trait) for trait in traits])
    return np.asarray(total * math.sqrt(TRAIT_SHARE / max(float(total @ total), 1e-12)))


def _signs(trait: str) -> NDArray[np.float64]:
    """Return the vector of one trait: 1 or -1 by the bits of its hash."""
    if trait.startswith(_SYSTEM):
        try:
            hashed = bytes.fromhex(trait.removeprefix(_SYSTEM))
        except ValueError:
            hashed = b""
    if not trait.startswith(_SYSTEM) or len(hashed) * 8 != TRAIT_DIMENSION:
        hashed = blake2b(trait.encode(errors="replace"), digest_size=TRAIT_DIMENSION // 8).digest()
    return np.unpackbits(np.frombuffer(hashed, dtype=np.uint8)).astype(np.float64) * 2 - 1
