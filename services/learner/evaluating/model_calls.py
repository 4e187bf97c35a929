"""Calls of models for evaluations: time-outs, retries, circuits and costs. No user waits for them."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from msgspec import Struct

from services.learner.evaluating.model_list import ModelList
from shared.bandit.arms import ArmId
from shared.errors import UpstreamError
from shared.ports import ChatModel, Clock
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.answer_text import answer_text
from shared.schemas.upstream import Answer, Call

TRIES = 3
"""Attempts of one call. Only a failure that passes and costs nothing is repeated."""
FIRST_PAUSE_S = 1.0
"""Longest random pause before the second attempt; it doubles with each failure."""

COOLING, UNREADABLE = "cooling", "bad_answer"
"""Labels: the call was not made, because its model cools down after failures; the answer could not be read."""

CHARS_PER_TOKEN = 4
ASSUMED_TOKENS = 400
"""Estimate of an answer that may have been billed and did not arrive."""


class Called(Struct, frozen=True):
    """Result of a call: the answer's text, or the label of an error. `cost_usd`: None if unknown."""

    text: str | None
    error: str | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(eq=False)
class ModelCaller:
    """Calls models. Its circuits are those of this process."""

    chat: ChatModel
    _: KW_ONLY
    circuits: CircuitBreakers
    models: ModelList
    clock: Clock

    def cooldown_s(self, arm: ArmId) -> float:
        """Return the time until `arm` may be called again: its own cool-down, or that of the account."""
        return max(self.circuits.cooldown_s(arm), self.circuits.account(arm).key.breaker.cooldown_s)

    async def call(
        self, arm: ArmId, body: Mapping[str, Any], *, request_id: str, within_s: float, wait_s: float
    ) -> Called:
        """Call `arm`; return its answer, or why there is none. `wait_s`: longest pause for a model that cools down."""
        deadline = self.clock.monotonic() + within_s
        for attempt in range(1, TRIES + 1):
            cooldown_s = self.cooldown_s(arm)
            if cooldown_s > wait_s:
                break
            await asyncio.sleep(cooldown_s)
            if not self._begin(arm):
                break
            began = self.clock.monotonic()
            try:
                answer = await self.chat.complete(Call(arm, body, request_id, deadline, {}))
            except UpstreamError as error:
                self.circuits.failed(arm, error, request=request_id, tokens=math.inf)
                latency_s = self.clock.monotonic() - began
                pause_s = max(error.cool_s, random.uniform(0, FIRST_PAUSE_S * 2 ** (attempt - 1)))
                repeats = error.passing and not error.spent and attempt < TRIES and pause_s <= wait_s
                if not repeats or self.clock.monotonic() + pause_s >= deadline:
                    cost_usd = await self._list_cost_usd(arm, tokens_of(body), ASSUMED_TOKENS) if error.spent else 0.0
                    return Called(None, error.label, cost_usd, latency_s)
                await asyncio.sleep(pause_s)
            else:
                self.circuits.succeeded(arm)
                return await self._read(arm, body, answer, self.clock.monotonic() - began)
        return Called(None, COOLING, 0.0)

    def _begin(self, arm: ArmId) -> bool:
        """Return whether the account allows the call; where a circuit is half open, it is the probe."""
        self.circuits.begin((arm,))
        key = self.circuits.account(arm).key.breaker
        return key.allows() and self.circuits.may_ask(arm, lambda: math.inf, named=False)

    async def _read(self, arm: ArmId, body: Mapping[str, Any], answer: Answer, latency_s: float) -> Called:
        usage = answer.usage
        text = answer_text(answer.choices[0]) if answer.choices else None
        prompt, completion = (None, None) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
        prompt = tokens_of(body) if prompt is None else prompt
        completion = answer.chars // CHARS_PER_TOKEN if completion is None else completion
        cost_usd = None if usage is None else usage.cost_usd
        if cost_usd is None:
            cost_usd = await self._list_cost_usd(arm, prompt, completion)
        return Called(text, UNREADABLE if text is None else None, cost_usd, latency_s, prompt, completion)

    async def _list_cost_usd(self, arm: ArmId, prompt_tokens: int, completion_tokens: int) -> float | None:
        price = await self.models.price(arm)
        return None if price is None else price.cost_usd(prompt_tokens, completion_tokens)


def tokens_of(body: Mapping[str, Any]) -> int:
    """Return an estimate of the tokens of a prompt."""
    return len(json.dumps(body.get("messages"), ensure_ascii=False, default=str)) // CHARS_PER_TOKEN
