"""Traffic: clients that send recorded prompts and rate answers with the recorded quality of their models."""

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
    """Counts so far, which the screen reads.

    `chosen`: per prompt the column of the model, -1 before the answer. `degraded`: decisions without their context,
    because a part was down or too slow.
    """

    chosen: NDArray[np.int64]
    order: list[int] = field(default_factory=list)
    rated: int = 0
    degraded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    @property
    def answered(self) -> int:
        """Number of prompts answered."""
        return len(self.order)

    def part(self, begin: float, end: float) -> NDArray[np.int64]:
        """Return the chosen columns between two fractions of all prompts, in order of the answers."""
        total = len(self.chosen)
        return self.chosen[self.order[int(begin * total) : int(end * total)]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sends the prompts of `outcomes` in order, `per_second` on average, at most `concurrency` in flight.

    `rated`: whether the answer to each prompt is rated.
    """

    outcomes: Outcomes
    url: str
    prefix: str
    rated: NDArray[np.bool_]
    concurrency: int = 12
    per_second: float = 25.0

    async def send(self, progress: Progress) -> None:
        """Send all prompts; failures are counted, not raised."""
        slots = asyncio.Semaphore(self.concurrency)
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
            if not self.rated[row]:
                return
            score = float(self.outcomes.scores[row, column])
            async with session.post("/feedback", json={"request_id": request_id, "score": score}) as answer:
                if answer.status == 202:
                    progress.rated += 1
                else:
                    progress.errors[f"feedback {answer.status}"] += 1
        except _Refused as error:
            progress.errors[str(error)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            progress.errors[type(error).__name__] += 1

    async def _ask(self, session: aiohttp.ClientSession, row: int, request_id: str, progress: Progress) -> int:
        body = {"model": "auto", "messages": [{"role": "user", "content": self.outcomes.prompts[row]}]}
        async with session.post("/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
            content = await answer.json(content_type=None)
            if answer.status != 200:
                raise _Refused(f"chat {answer.status} {content.get('error', {}).get('code')}")
            column = self.outcomes.models.index(answer.headers["x-router-model"])
            progress.chosen[row] = column
            progress.order.append(row)
            progress.degraded += "x-router-degraded" in answer.headers
        return column


class _Refused(Exception):
    """The gateway returned an error."""
