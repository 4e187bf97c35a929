"""Definition of a Qdrant collection of requests, as the bodies of Qdrant's REST API."""

from __future__ import annotations

from collections.abc import Mapping

from shared.schemas.storage import EmbeddingModel

INDEXES: Mapping[str, str] = {"labelled": "bool", "created_at": "integer", "owner": "keyword"}
"""Filtered payload fields, with the type of their index."""

SCANNED_POINTS = 2500
"""Points that wait for a graph are searched one by one; so many cost as much as walking the graph of 100,000."""

BYTES: Mapping[str, object] = {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
"""Graphs are walked along bytes, a quarter of the vectors' memory traffic; a query ranks what it found by the
vectors themselves (`qdrant_index.py`). A quantile of 0.99 leaves out the outliers, which would make bytes coarse."""


def collection(model: EmbeddingModel) -> dict[str, object]:
    """Return the body that creates the collection of a model."""
    return {
        "vectors": {"size": model.dimension, "distance": "Cosine"},
        "quantization_config": BYTES,
        "on_disk_payload": False,  # a server's default is the disk; each search reads the payloads that it finds
        "optimizers_config": {"indexing_threshold": max(1, SCANNED_POINTS * model.dimension * 4 // 1024)},
    }
