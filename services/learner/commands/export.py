"""Command `export`: writes the history as JSON lines, one per request, for evaluation without the database.

A line is the request's record (decision, outcome, attempts: what `GET /requests/{id}` shows, in the names of
`shared/schemas/records.py`), with `feedback`, all revisions of its user's rating, `score`, the latest one, `scores`,
the latest one of each other source, `evaluation`, and `counted_in`, generation and id of the kind of prompt in which it
is counted. It contains no prompt and no text of feedback.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import orjson

from shared.bandit.sources import Source
from shared.ports import History
from shared.schemas.history import PastRequest

Progress = Callable[[int, int], None]
"""Called with requests done and requests in all."""


async def export_to(path: Path | None, history: History, progress: Progress, *, since: float, vectors: bool) -> int:
    """Export to a file, which appears when it is complete, or to standard output; return the number of requests."""
    if path is None:
        return await export(history, sys.stdout.buffer, progress, since=since, vectors=vectors)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        number = await export(history, file, progress, since=since, vectors=vectors)
    partial.replace(path)
    return number


async def export(history: History, out: BinaryIO, progress: Progress, *, since: float, vectors: bool) -> int:
    """Write the requests created at or after `since` (Unix s); return how many."""
    done, total = 0, await history.count(since=since)
    progress(0, total)
    async for page in history.read(since=since):
        out.write(b"".join(line(past, vectors=vectors) for past in page))
        done += len(page)
        progress(done, max(total, done))
    return done


def line(past: PastRequest, *, vectors: bool) -> bytes:
    """Return the JSON line of a request; its vector is base64 of little-endian float32."""
    content = orjson.loads(past.entry.record.to_json())
    content["feedback"] = [
        {"revision": rating.revision, "score": rating.score, "rated_at": rating.rated_at}
        for rating in past.ratings
        if rating.source is Source.USER
    ]
    content["score"] = None if past.rating is None else past.rating.score
    content["scores"] = {
        rating.source.value: rating.score for rating in past.ratings if rating.source is not Source.USER
    }
    content["evaluation"] = None if past.evaluation is None else msgspec.to_builtins(past.evaluation)
    assigned = past.assigned
    content["counted_in"] = None if assigned is None else list(assigned.kind)
    if vectors:
        vector = past.entry.vector
        raw = None if vector is None else np.asarray(vector, dtype="<f4").tobytes()
        content["vector"] = None if raw is None else base64.b64encode(raw).decode("ascii")
    return orjson.dumps(content) + b"\n"
