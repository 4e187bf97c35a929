"""Creation of the collection with the official client, in its own process: the client takes 1.3 s and 85 MB.

`python -m shared.storage.qdrant_setup` reads one JSON array from standard input: address, key or null, name of the
collection, name of the model, dimension. Exit code 1: it could not be created, and standard error says why.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse
from qdrant_client.models import (
    Distance,
    OptimizersConfigDiff,
    PayloadSchemaType,
    ScalarQuantization,
    ScalarQuantizationConfig,
    ScalarType,
    VectorParams,
)
from yarl import URL

from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_answers import INDEXES

TIMEOUT_S = 10
SCANNED_POINTS = 2500
"""Points that wait for a graph are searched one by one; so many cost as much as walking the graph of 100,000."""

BYTES = ScalarQuantization(scalar=ScalarQuantizationConfig(type=ScalarType.INT8, quantile=0.99, always_ram=True))
"""Graphs are walked along bytes, a quarter of the vectors' memory traffic; a query ranks what it found by the
vectors themselves (`qdrant_index.py`). A quantile of 0.99 leaves out the outliers, which would make bytes coarse."""


async def create(url: str, api_key: str | None, name: str, model: EmbeddingModel) -> None:
    """Create collection and payload indexes if they do not exist. Raises the client's errors."""
    client = AsyncQdrantClient(
        url=url,
        port=URL(url).port,  # the client would add 6333 to an address without a port
        headers={"api-key": api_key} if api_key else None,
        timeout=TIMEOUT_S,
        check_compatibility=False,  # it would ask with a blocking request
    )
    try:
        await _create_collection(client, name, model)
        for field, kind in INDEXES.items():
            await client.create_payload_index(name, field, PayloadSchemaType(kind), wait=True)
    finally:
        await client.close()


async def _create_collection(client: AsyncQdrantClient, name: str, model: EmbeddingModel) -> None:
    waiting_kb = max(1, SCANNED_POINTS * model.dimension * 4 // 1024)
    try:
        await client.create_collection(
            name,
            VectorParams(size=model.dimension, distance=Distance.COSINE),
            quantization_config=BYTES,
            on_disk_payload=False,  # a server's default is the disk; each search reads the payloads that it finds
            optimizers_config=OptimizersConfigDiff(indexing_threshold=waiting_kb),
        )
    except UnexpectedResponse as error:
        if error.status_code != 409:  # another process was quicker
            raise


if __name__ == "__main__":
    asked_url, asked_key, asked_name, model_id, dimension = orjson.loads(sys.stdin.buffer.read())
    try:
        asyncio.run(create(asked_url, asked_key, asked_name, EmbeddingModel(model_id, dimension)))
    except (ApiException, QdrantException) as failure:
        sys.exit(type(failure).__name__)  # its text may quote the key
