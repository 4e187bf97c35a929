"""`Embedder` that puts texts together: what comes while a call is under way goes out when one is back, or soon.

A call costs the gateway and the embedder several times what a short text does. Only where the model is quick, though:
a transformer takes milliseconds a text, and a call of many would be too late for all of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import DependencyError
from shared.ports import Embedder
from shared.schemas.storage import EmbeddingModel

TOGETHER_S = 0.01
"""What a call of several texts may take, as far as one can tell before."""
WAIT_S = 0.005
"""Longest wait for a call to come back."""
MOST = 32
SHORT_CHARS = 1_000
FORGET = 1.001
"""The quickest call is what a text takes; one that was quicker than any since counts less with each."""


@dataclass(slots=True, eq=False)
class _Text:
    text: str
    until: float
    row: asyncio.Future[NDArray[np.float32]]


class JoinedEmbedder:
    """Asks `embedder`, for several callers at once. Being cancelled, a caller touches nobody else's text."""

    def __init__(self, embedder: Embedder, timeout_s: float) -> None:
        """Take the time that a caller has who does not say."""
        self._embedder = embedder
        self._timeout_s = timeout_s
        self._waiting: list[_Text] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._text_s = math.inf

    async def model(self) -> EmbeddingModel:
        """Return which model answers."""
        return await self._embedder.model()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension) float32, rows of norm 1, all finite."""
        if self._under_way and self._most() > 1 and len(texts) == 1 and self._joins(texts[0], within_s):
            joined = _Text(texts[0], time.monotonic() + self._timeout_s, asyncio.get_running_loop().create_future())
            self._wait(joined)
            return await joined.row
        return await self._call(texts, within_s)

    def _joins(self, text: str, within_s: float | None) -> bool:
        """Return whether a text may go with others: it keeps none of them waiting, spoils none, and has time."""
        in_time = within_s is None or within_s >= self._timeout_s
        return in_time and len(text) <= SHORT_CHARS and (text.isascii() or _is_unicode(text))

    def _most(self) -> int:
        """Return how many texts may go together."""
        return min(MOST, int(TOGETHER_S / self._text_s))

    def _wait(self, joined: _Text) -> None:
        self._waiting.append(joined)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_S, self._call_for_all)

    async def _call(self, texts: Sequence[str], within_s: float | None) -> NDArray[np.float32]:
        started = time.monotonic()
        self._under_way += 1
        try:
            rows = await self._embedder.embed(texts, within_s=within_s)
            self._text_s = min(FORGET * self._text_s, (time.monotonic() - started) / max(1, len(texts)))
        finally:
            self._under_way -= 1
            if self._waiting:
                self._call_for_all()
        return rows

    def _call_for_all(self) -> None:
        """Ask for everybody who still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = [one for one in self._waiting if not one.row.done()], []
        most = max(1, self._most())
        for start in range(0, len(waiting), most):
            call = asyncio.get_running_loop().create_task(self._call_for(waiting[start : start + most]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call_for(self, waiting: Sequence[_Text]) -> None:
        left_s = waiting[0].until - time.monotonic()  # the oldest has least
        failure = DependencyError("embedder", "the call was given up")
        rows: NDArray[np.float32] | None = None
        try:
            rows = await self._call([one.text for one in waiting], left_s)
        except DependencyError as error:
            failure = error
        finally:
            for at, one in enumerate(waiting):
                if one.row.done():  # cancelled
                    continue
                if rows is not None:
                    one.row.set_result(rows[at : at + 1])
                else:
                    one.row.set_exception(failure)


def _is_unicode(text: str) -> bool:
    """Return whether it can be sent: half a surrogate pair cannot, and would take the others' call with it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
