"""`RequestIndex` on Qdrant: documented REST only, so a Qdrant server (1.10 or newer) and the local engine both serve.

A collection belongs to one embedding model; its name carries the model's id and dimension, so vectors of two models
never mix. A point's payload is ids and numbers only: `arm`, `score` and `labelled` (whether it has one),
`created_at` (whole Unix seconds), `owner`.

Plain HTTP instead of qdrant-client, which costs several times the processor time a query, and 85 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from shared.bandit.context import Neighbour, Vector
from shared.errors import DependencyError
from shared.quick_http import QuickHttp
from shared.resilience.coalescer import Coalescer
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage import qdrant_answers as answers
from shared.storage.qdrant_setup import INDEXES, collection

SET_UP_S = 5.0
"""Time for the set-up: the loser of a race to create sees errors for about a second."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Longest random pause between two attempts of the set-up, at first and at last."""
SLOW_S = 10.0
"""Least time-out of background calls: creating, writes, deletes, counts."""
WRITE_POINTS = 32
"""Points per write. 32 of 256 dimensions are 0.1 MB, which block the server for 0.5 ms instead of 10."""
RANKED_BY_VECTORS = {"quantization": {"rescore": True, "oversampling": 1.5}}
"""Search by quantized vectors for 1.5 times the limit, then rescore by full vectors: similarities are exact, and recall
of the nearest 50 is that of full vectors. A collection without quantization ignores it."""
LABELLED = {"key": "labelled", "match": {"value": True}}
TOGETHER = 8
"""Searches per call. All are answered when the last one is, so under overload all are late: larger calls save
little, and delay searches that would have been in time."""
SIFTED_S = 60.0
"""After a search has met a point that is expired or unrated, searches use a filter for this long."""


def collection_name(model: EmbeddingModel) -> str:
    """Return the collection of a model."""
    return f"requests_{re.sub(r'[^A-Za-z0-9._-]', '-', model.id)}_{model.dimension}"


class QdrantIndex:
    """`RequestIndex` by REST. Call `prepare` first: every other method needs the name of its collection."""

    def __init__(self, http: QuickHttp, api_key: str | None, timeout_s: float) -> None:
        """Take the connections (whose limit is the bulkhead) and the time that one `neighbours` may take."""
        self._http = http
        self._headers = {"content-type": "application/json", **({"api-key": api_key} if api_key else {})}
        self._hot_s = timeout_s
        self._slow_s = max(timeout_s, SLOW_S)
        self._searches = Coalescer[Mapping[str, object], answers.Found]("qdrant", self._search_all, most=TOGETHER)
        self._model: EmbeddingModel | None = None
        self._met = (math.inf, 0.0)  # age of a point that no decision may use, and until when it is remembered

    async def prepare(self, model: EmbeddingModel) -> None:
        """Create the collection of `model` and its payload indexes, or find them; safe to run concurrently."""
        until, pause_s = time.monotonic() + SET_UP_S, FIRST_PAUSE_S
        try:
            while True:
                try:
                    await self._find_or_create(model)
                    break
                except answers.NotYet:
                    if time.monotonic() >= until:
                        raise
                await asyncio.sleep(random.uniform(0, pause_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except answers.WrongCollection as error:
            raise DependencyError("qdrant", str(error)) from error
        self._model = model

    async def neighbours(
        self, vector: Vector, *, limit: int, threshold: float, since: float, within_s: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return labelled requests created at or after `since` (to the second) with cosine >= threshold.

        Only rated requests are written, and expired points are deleted every ten minutes, so few searches meet a point
        that no decision may use. A filter takes a third of a search. So found points are checked, and the filter is
        used only after one of them was of no use.
        """
        patience_s = self._hot_s if within_s is None else min(self._hot_s, within_s)
        until, hurried = time.monotonic() + patience_s, patience_s < self._hot_s
        wanted = {
            "query": np.ascontiguousarray(vector, dtype=np.float32),
            "limit": limit,
            "score_threshold": threshold,
            "with_payload": ["arm", "score", "created_at"],
            "params": RANKED_BY_VECTORS,
        }
        first = math.floor(since)
        met, remembered_until = self._met
        if met >= first or time.monotonic() >= remembered_until:
            found = await self._search(wanted, until, hurried=hurried)
            met = answers.oldest(found)
            if met >= first:
                return answers.neighbours(found, limit)
            self._met = met, time.monotonic() + SIFTED_S
        young = {"key": "created_at", "range": {"gte": first}}
        sifted = {**wanted, "filter": {"must": [LABELLED, young]}}
        found = await self._search(sifted, until, hurried=hurried)
        return answers.neighbours(found, limit)

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those with the same id; they are searchable when it returns."""
        for start in range(0, len(points), WRITE_POINTS):
            body = {"points": [_stored(point) for point in points[start : start + WRITE_POINTS]]}
            try:
                await self._write(body)
            except answers.NoCollection:
                # Qdrant was emptied: create the collection again for the points from now on.
                await self.prepare(self._known())
                await self._write(body)

    async def label(self, scores: Mapping[str, float | None]) -> None:
        """Set the score of points, those of one score in one call. By a filter, which leaves out unknown ids."""
        labelled = defaultdict(list)
        for request_id, score in scores.items():
            labelled[score].append(request_id)
        for score, ids in labelled.items():
            payload = {"labelled": score is not None, "score": score}
            await self._post("/points/payload?wait=true", {"payload": payload, "filter": {"must": [{"has_id": ids}]}})

    async def delete_before(self, created_at: float) -> None:
        """Delete points created before that Unix second."""
        older = {"key": "created_at", "range": {"lt": math.floor(created_at)}}
        await self._post("/points/delete?wait=true", {"filter": {"must": [older]}})

    async def delete(self, request_ids: Sequence[str]) -> None:
        """Delete these points; unknown ids are ignored."""
        if request_ids:
            await self._post("/points/delete?wait=true", {"points": list(request_ids)})

    async def count(self) -> int:
        """Return the number of stored points."""
        return answers.count(await self._post("/points/count", {"exact": True}))

    async def ping(self) -> str:
        """Return the engine's version."""
        return answers.version(await self._call("GET", "/", None, self._hot_s))

    # -- the wire ------------------------------------------------------------------------------------------------

    def _known(self) -> EmbeddingModel:
        if self._model is None:
            raise DependencyError("qdrant", "the collection is not prepared yet")
        return self._model

    def _path(self, rest: str) -> str:
        return f"/collections/{collection_name(self._known())}{rest}"

    async def _search(self, search: Mapping[str, object], until: float, *, hurried: bool) -> answers.Found:
        return await self._searches.submit(search, until - time.monotonic(), alone=hurried)

    async def _search_all(self, searches: Sequence[Mapping[str, object]], within_s: float) -> Sequence[answers.Found]:
        path = self._path("/points/query")
        if len(searches) == 1:
            return [answers.found(await self._raw("POST", path, searches[0], within_s))]
        body = {"searches": searches}
        return answers.found_by_each(await self._raw("POST", f"{path}/batch", body, within_s), len(searches))

    async def _write(self, body: object) -> None:
        path = self._path("/points?wait=true")
        answers.result(answers.decoded(await self._raw("PUT", path, body, self._slow_s)))

    async def _post(self, path: str, body: object) -> Any:
        return answers.result(await self._call("POST", self._path(path), body, self._slow_s))

    async def _call(self, method: str, path: str, body: object, patience_s: float) -> Any:
        return answers.decoded(await self._raw(method, path, body, patience_s))

    async def _raw(self, method: str, path: str, body: object, patience_s: float) -> bytes:
        raw = b"" if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            reply = await self._http.request(method, path, raw, self._headers, within_s=patience_s)
        except (TimeoutError, OSError) as error:
            raise DependencyError("qdrant", f"no answer: {type(error).__name__}") from error
        return answers.accepted(reply.status, reply.body)

    # -- set-up --------------------------------------------------------------------------------------------------

    async def _find_or_create(self, model: EmbeddingModel) -> None:
        if await self._is_complete(model):
            return
        try:
            await self._create(model)
        except DependencyError as error:  # another process may be at it: what it makes is there soon
            raise answers.NotYet("qdrant", f"set-up failed ({error})") from error
        if not await self._is_complete(model):
            raise answers.NotYet("qdrant", "the collection is not complete yet")

    async def _create(self, model: EmbeddingModel) -> None:
        path = f"/collections/{collection_name(model)}"
        with contextlib.suppress(answers.NotYet):  # another process was quicker: the indexes may still be missing
            await self._call("PUT", path, collection(model), self._slow_s)
        for field, kind in INDEXES.items():
            index = {"field_name": field, "field_schema": kind}
            await self._call("PUT", f"{path}/index?wait=true", index, self._slow_s)

    async def _is_complete(self, model: EmbeddingModel) -> bool:
        path = f"/collections/{collection_name(model)}"
        try:
            described = answers.result(await self._call("GET", path, None, self._slow_s))
        except answers.NoCollection:
            return False
        return answers.is_complete(described, model)


def _stored(point: Point) -> dict[str, object]:
    payload: dict[str, object] = {
        "arm": point.arm,
        "labelled": point.score is not None,
        "created_at": math.floor(point.created_at),
        "owner": point.owner,
    }
    if point.score is not None:
        payload["score"] = point.score
    vector = np.ascontiguousarray(point.vector, dtype=np.float32)
    return {"id": point.request_id, "vector": vector, "payload": payload}
