"""A command for a person: the history as a file, one request a line, to be evaluated without the database.

A line is the request's record (decision, outcome, attempts: what `GET /requests/{id}` shows, in the names of
`shared/schemas/records.py`), with `feedback`, every revision, and `score`, the one that counts. Nobody's words are in
it: no prompt, no text of feedback.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import orjson

from shared.ports import History
from shared.schemas.history import PastRequest

Progress = Callable[[int, int], None]


async def export(history: History, out: BinaryIO, progress: Progress, *, since: float, vectors: bool) -> int:
    """Write what was created at or after `since`; return how many requests there were."""
    done, total = 0, await history.count(since=since)
    progress(0, total)
    async for page in history.read(since=since):
        out.write(b"".join(line(past, vectors=vectors) for past in page))
        done += len(page)
        progress(done, max(total, done))
    return done


def line(past: PastRequest, *, vectors: bool) -> bytes:
    """Return one line; a vector is base64 of little-endian float32."""
    content = orjson.loads(past.entry.record.to_json())
    content["feedback"] = [
        {"revision": rating.revision, "score": rating.score, "rated_at": rating.rated_at} for rating in past.ratings
    ]
    content["score"] = None if past.rating is None else past.rating.score
    if vectors:
        vector = past.entry.vector
        raw = None if vector is None else np.asarray(vector, dtype="<f4").tobytes()
        content["vector"] = None if raw is None else base64.b64encode(raw).decode("ascii")
    return orjson.dumps(content) + b"\n"
