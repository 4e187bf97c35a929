"""Kind vector of a request: the unit vector of the user's text beside one of the request's traits.

A trait is a short string: a hash of the system prompt, `tools:…`, `image`, … (`shared/schemas/traits.py`). Each stands
for a fixed pseudo-random unit vector, so that different traits are about orthogonal; the bits of a similarity hash are
one themselves. Traits of one request are added by weight and scaled to norm 1. The kind vector is

    (sqrt(1 - w) text, sqrt(w) traits),  w = 1/2;      (text, 0) where there are no traits

so that the cosine of two kind vectors is the mean of both parts' cosines. It is computed when it is needed: a stored
request keeps its text vector and its traits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from shared.bandit.context import Vector
from shared.bandit.kinds import Assigner, Kinds, Place

TRAIT_DIMENSION = 64
"""Numbers of the traits in a kind vector."""

TRAIT_SHARE = 0.5
"""w: the share of the traits in the squared norm."""

SMALL = 0.5
"""Weight of any other trait beside the system prompt's and the tools', which are 1: those name the application."""

_SYSTEM, _TOOLS = "system:", "tools:"
_NO_TRAITS: Vector = np.zeros(TRAIT_DIMENSION, dtype=np.float32)
_TEXT_SCALE = np.float32(math.sqrt(1.0 - TRAIT_SHARE))


def kind_vector(vector: Vector, traits: tuple[str, ...]) -> Vector:
    """Return the kind vector, (d + TRAIT_DIMENSION,) float32 of norm 1."""
    if not traits:
        return np.concatenate((vector, _NO_TRAITS))
    return np.concatenate((vector * _TEXT_SCALE, _scaled(traits)))


def place_of(kinds: Kinds, vector: Vector | None, traits: tuple[str, ...]) -> Place | None:
    """Return where a request falls among the kinds; None where it has no vector of the right size."""
    return None if vector is None else kinds.place(kind_vector(vector, traits), TRAIT_DIMENSION)


def assign(assigner: Assigner, vector: Vector, traits: tuple[str, ...], request_id: str = "") -> int:
    """Count a request in its kind, and return the kind's id."""
    return assigner.assign(kind_vector(vector, traits), request_id, TRAIT_DIMENSION)


@lru_cache(maxsize=4096)
def _scaled(traits: tuple[str, ...]) -> Vector:
    """Return the traits' part of a kind vector. Its sums are exact, so that every machine gets the same numbers."""
    weights = [1.0 if trait.startswith((_SYSTEM, _TOOLS)) else SMALL for trait in traits]
    total = np.array(weights) @ np.array([_signs(trait) for trait in traits])
    scaled = total * math.sqrt(TRAIT_SHARE / max(float(total @ total), 1e-12))
    made = np.asarray(scaled, dtype=np.float32)
    made.setflags(write=False)
    return made


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
