"""Clusters of prompts: spherical k-means on the vectors of the traffic, rated or not.

Refitted when the traffic has reached each of `REFIT_AT` requests. Sums of an older epoch count as cluster unknown until
whoever keeps the requests has written them anew under the new epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.bandit.sums import Centroids

CLUSTERS = 8
REFIT_AT = (50, 200, 800)
_ROUNDS = 15


def refit_due(fitted: int, requests: int) -> bool:
    """Whether clusters last fitted to `fitted` requests (0: never) are to be fitted anew to `requests`."""
    return any(fitted < threshold <= requests for threshold in REFIT_AT)


def fit_centroids(vectors: NDArray[np.float32], *, epoch: int, rng: np.random.Generator) -> Centroids:
    """Return the centres of up to `CLUSTERS` kinds of prompt; `vectors` are unit rows, at least one.

    k-means++ seeding (Arthur & Vassilvitskii 2007) with cosine distance.
    """
    centres = vectors[[int(rng.integers(len(vectors)))]]
    while len(centres) < CLUSTERS:
        distance = np.maximum(1.0 - (vectors @ centres.T).max(axis=1).astype(np.float64), 0.0)
        if distance.sum() <= 1e-6:
            break  # fewer different prompts than clusters
        centres = np.vstack((centres, vectors[rng.choice(len(vectors), p=distance / distance.sum())]))
    for _ in range(_ROUNDS):
        nearest = (vectors @ centres.T).argmax(axis=1)
        for cluster in range(len(centres)):
            total = vectors[nearest == cluster].sum(axis=0)
            norm = float(np.linalg.norm(total))
            if norm > 0:
                centres[cluster] = total / norm
    return Centroids(epoch, np.ascontiguousarray(centres, dtype=np.float32))
