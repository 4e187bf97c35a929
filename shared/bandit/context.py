"""Context of a decision: the prompt's vector, its labelled neighbours, and the request's traits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId

Vector = NDArray[np.float32]


class Neighbour(NamedTuple):
    """A labelled past request that resembles this one.

    Attributes:
        request_id: our own id of that request.
        similarity: cosine, at most 1.
        arm: the arm that answered it.
        score: the feedback it got, 0 to 1.
    """

    request_id: str
    similarity: float
    arm: ArmId
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Context of a prompt.

    Attributes:
        vector: unit vector of the text; None without an embedder.
        neighbours: nearest first.
        traits: of the request.
        searched: whether neighbours were searched for; if not, an empty `neighbours` says nothing of the prompt.
    """

    vector: Vector | None = None
    neighbours: tuple[Neighbour, ...] = ()
    traits: tuple[str, ...] = ()
    searched: bool = False


EMPTY = Context()
