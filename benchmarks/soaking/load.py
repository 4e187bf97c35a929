"""Load: chat requests at a fixed rate, alternately streamed and whole; half of the whole answers are rated."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import orjson

TIMEOUT_S = 30.0
SHED = "overloaded"
RATING_TRIES = 30
SUBJECTS = ("tax", "roses", "Python", "Peru", "a headache", "chess", "bread", "rust", "a lease", "the moon")
TASKS = ("Explain {}", "Write a poem on {}", "Give me three facts about {}", "What is wrong with {}", "Translate {}")
PROMPTS = tuple(f"{task.format(subject)}, for a {age} year old" for task in TASKS for subject in SUBJECTS
                for age in range(8, 18))  # fmt: skip


@dataclass
class Tally:
    """Results of the clients. `answered`, `rated`, `failed`: ids of requests with a whole answer, a 202, a 5xx.

    `shed`: requests refused by admission; `answered_at`: times of the monotonic clock.
    """

    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    answered: list[str] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    shed: int = 0
    unreached: int = 0
    rated: list[str] = field(default_factory=list)
    not_rated: int = 0
    overhead_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Load:
    """Load of `rps` requests per second for `seconds`; ids begin with `prefix`."""

    url: str
    prefix: str
    rps: float
    seconds: float

    async def send(self, tally: Tally) -> None:
        """Send all requests; failures are counted, not raised."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(self.url, connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as clients,
        ):
            began, number = time.monotonic(), 0
            while time.monotonic() - began < self.seconds:
                clients.create_task(self._one(session, number, tally))
                number += 1
                await asyncio.sleep(began + number / self.rps - time.monotonic())

    async def _one(self, session: aiohttp.ClientSession, number: int, tally: Tally) -> None:
        rng = random.Random(number)
        request_id = f"{self.prefix}-{number}"
        tally.sent += 1
        try:
            whole = await self._ask(session, request_id, rng, tally, stream=number % 2 == 0)
            if whole:
                tally.answered.append(request_id)
                tally.answered_at.append(time.monotonic())
                if rng.random() < 0.5:
                    await self._rate(session, request_id, round(rng.random(), 2), tally)
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.unreached += 1
            tally.ends[type(error).__name__] += 1

    async def _rate(self, session: aiohttp.ClientSession, request_id: str, score: float, tally: Tally) -> None:
        """Rate an answer; retry when the router returns Retry-After."""
        rating = {"request_id": request_id, "score": score}
        for _ in range(RATING_TRIES):
            async with session.post("/feedback", json=rating) as answer:
                content = await answer.read()
                if answer.status == 202:
                    tally.rated.append(request_id)
                    return
                tally.ends[f"feedback: {answer.status} {orjson.loads(content)['error']['code']}"] += 1
                if answer.status != 503:
                    break
                await asyncio.sleep(float(answer.headers["Retry-After"]))
        tally.not_rated += 1

    async def _ask(
        self, session: aiohttp.ClientSession, request_id: str, rng: random.Random, tally: Tally, *, stream: bool
    ) -> bool:
        """Whether a complete answer was received."""
        body = {"messages": [{"role": "user", "content": rng.choice(PROMPTS)}], "stream": stream}
        async with session.post("/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
            content = await answer.read()
            if answer.status != 200:
                code = orjson.loads(content)["error"]["code"]
                tally.ends[f"{answer.status} {code}"] += 1
                if code == SHED:
                    tally.shed += 1
                elif answer.status >= 500:
                    tally.failed.append(request_id)
                return False
            whole = not stream or content.endswith(b"data: [DONE]\n\n")
            tally.ends["200 complete" if whole else "200 incomplete, with an error event"] += 1
            tally.overhead_ms.append(float(answer.headers["x-router-overhead-ms"]))
            return whole
