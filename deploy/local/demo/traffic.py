"""Clients of the gateway: ask, read who answered, and rate the answer with the recorded quality."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes

TIMEOUT_S = 30.0


@dataclass
class Progress:
    """What has happened so far; read by the screen while it grows."""

    chosen: NDArray[np.int64]
    order: list[int] = field(default_factory=list)
    rated: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def answered(self) -> int:
        """Number of prompts answered."""
        return len(self.order)

    def part(self, begin: float, end: float) -> NDArray[np.int64]:
        """Return who answered between two shares of all prompts, in order of arrival."""
        total = len(self.chosen)
        return self.chosen[self.order[int(begin * total) : int(end * total)]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Prompts in the order of `outcomes`, `per_second` on average and at most `at_once` under way."""

    outcomes: Outcomes
    url: str
    prefix: str
    at_once: int = 12
    per_second: float = 25.0

    async def send(self, progress: Progress) -> None:
        """Send everything; failures are counted, not raised."""
        slots = asyncio.Semaphore(self.at_once)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(self.url, timeout=timeout) as session, asyncio.TaskGroup() as clients:
            began = time.monotonic()
            for row in range(len(self.outcomes)):
                await asyncio.sleep(began + row / self.per_second - time.monotonic())
                await slots.acquire()
                client = clients.create_task(self._one(session, row, progress))
                client.add_done_callback(lambda _client: slots.release())

    async def _one(self, session: aiohttp.ClientSession, row: int, progress: Progress) -> None:
        request_id = f"{self.prefix}-{row}"
        try:
            column = await self._ask(session, row, request_id, progress)
            score = float(self.outcomes.scores[row, column])
            async with session.post("/feedback", json={"request_id": request_id, "score": score}) as answer:
                if answer.status == 202:
                    progress.rated += 1
                else:
                    progress.errors[f"feedback {answer.status}"] += 1
        except _NotAnswered as error:
            progress.errors[str(error)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            progress.errors[type(error).__name__] += 1

    async def _ask(self, session: aiohttp.ClientSession, row: int, request_id: str, progress: Progress) -> int:
        body = {"model": "auto", "messages": [{"role": "user", "content": self.outcomes.prompts[row]}]}
        async with session.post("/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
            content = await answer.json(content_type=None)
            if answer.status != 200:
                raise _NotAnswered(f"chat {answer.status} {content.get('error', {}).get('code')}")
            column = self.outcomes.models.index(answer.headers["x-router-model"])
            progress.chosen[row] = column
            progress.order.append(row)
            progress.kinds[answer.headers["x-router-decision"]] += 1
            progress.cost_usd += float(content["usage"]["cost"])
        return column


class _NotAnswered(Exception):
    """The gateway said no."""
