"""Tuning of a collection: scalar quantization of its vectors, and the size from which it has a search graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, real, truth, whole
from deploy.qdrant_engine.problems import invalid, unsupported

INDEXING_THRESHOLD_KB = 10_000
"""Qdrant's default: a segment whose vectors are larger gets a graph."""
SEARCH_THREADS = 1
"""Searches are sequential and read two segments: more threads would only spin between two searches."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Tuning with which a collection was created.

    Attributes:
        indexing_threshold_kb: size of the vectors from which a graph is built.
        quantile: share of each dimension's values that int8 covers; None: no quantization.
    """

    indexing_threshold_kb: int = INDEXING_THRESHOLD_KB
    quantile: float | None = None

    def scanned_points(self, size: int) -> int:
        """Return up to how many vectors of `size` dimensions are scanned without a graph."""
        return max(1, self.indexing_threshold_kb * 1024 // (4 * size))

    def shard_config(self, size: int, distance: edge.Distance) -> edge.EdgeConfig:
        """Return the engine's configuration of a shard, for creating and loading it."""
        bytes_of = None
        if self.quantile is not None:
            # "Pinned" is the REST API's always_ram.
            kind, memory = edge.ScalarType.Int8, edge.Memory.Pinned
            bytes_of = edge.ScalarQuantizationConfig(kind, quantile=self.quantile, memory=memory)
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=size, distance=distance),
            quantization_config=bytes_of,
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=self.indexing_threshold_kb),
            max_search_threads=SEARCH_THREADS,
        )

    def quantization(self) -> dict[str, object] | None:
        """Return `quantization_config` in the form of the REST API."""
        if self.quantile is None:
            return None
        return {"scalar": {"type": "int8", "quantile": self.quantile, "always_ram": True}}


def tuning_of(body: Mapping[str, Any]) -> Tuning:
    """Translate `quantization_config` and `optimizers_config` of a new collection."""
    threshold = INDEXING_THRESHOLD_KB
    if "optimizers_config" in body:
        given = fields(body["optimizers_config"], "optimizers_config", ("indexing_threshold",))
        threshold = whole(given.get("indexing_threshold", threshold), "indexing_threshold", least=1, most=10**9)
    return Tuning(threshold, _quantile(body.get("quantization_config")))


def _quantile(raw: Any) -> float | None:
    if raw is None:
        return None
    given = fields(fields(raw, "quantization_config", ("scalar",)).get("scalar"), "scalar", _SCALAR)
    if given.get("type") != "int8" or not truth(given.get("always_ram", False), "always_ram"):
        raise unsupported("quantization other than int8 in memory")
    quantile = real(given.get("quantile", 1.0), "quantile")
    if not 0.5 <= quantile <= 1.0:
        raise invalid("quantile must be from 0.5 to 1.0")
    return quantile


_SCALAR = ("type", "quantile", "always_ram")
