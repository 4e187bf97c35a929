"""Arms: models that can be chosen, with prices and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

ArmId = str
"""The upstream's name of the model, `provider/model-name`."""

_NAME = re.compile(r"[!-~]{1,256}")


def is_arm_name(text: str) -> bool:
    """Whether `name` is a valid model name: it is used in headers, keys, logs and metrics."""
    return _NAME.fullmatch(text) is not None


def is_free_variant(arm: ArmId) -> bool:
    """Whether `arm` is one of OpenRouter's free variants: without cost, and all under one limit."""
    return arm.endswith(":free")


UNBOUNDED_TOKENS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """List price of one arm, USD per token; `request_usd` is charged per request in addition.

    `cache_read_usd` is the price of a prompt's token that the upstream still has in its cache; None: unknown.
    """

    prompt_usd: float
    completion_usd: float
    request_usd: float = 0.0
    cache_read_usd: float | None = None

    def cost_usd(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0.0) -> float:
        """Return the list cost in USD of that many tokens; `cached_tokens` are part of the prompt's."""
        cost_usd = prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd + self.request_usd
        return cost_usd - self.saved_usd(cached_tokens)

    def saved_usd(self, cached_tokens: float) -> float:
        """Return what it saves that the upstream has that many tokens of a prompt in its cache."""
        if self.cache_read_usd is None:
            return 0.0
        return cached_tokens * max(self.prompt_usd - self.cache_read_usd, 0.0)


@dataclass(frozen=True, slots=True)
class Arm:
    """A model that can be chosen, with what the upstream's catalogue says of it; None where it says nothing.

    Attributes:
        id: the upstream's name of the model.
        price: list price; an arm without one starts without a price prior.
        context_tokens: largest prompt and answer together.
        max_output_tokens: largest answer.
        input_modalities: what a prompt may hold: `text`, `image`, `audio`, `file`, `video`.
        output_modalities: what an answer may hold.
        parameters: request parameters that the model supports, in OpenRouter's names.
        created: Unix time at which the upstream began to offer the model.
        benchmark: index of quality in public benchmarks, 0 to 1; only differences between models mean anything.
        upstream: name of its upstream.
        private: whether prompts that it gets must not go to another upstream.
    """

    id: ArmId
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    input_modalities: frozenset[str] | None = None
    output_modalities: frozenset[str] | None = None
    parameters: frozenset[str] | None = None
    created: float | None = None
    benchmark: float | None = None
    upstream: str = ""
    private: bool = False

    @property
    def has_limits(self) -> bool:
        """Return whether any limit of the model is known."""
        limits = self.input_modalities, self.output_modalities, self.parameters
        return bool(self.context_tokens or self.max_output_tokens) or any(limit is not None for limit in limits)

    def room(self) -> int:
        """Return the tokens of prompt and answer together that fit in any split."""
        return min(self.context_tokens or UNBOUNDED_TOKENS, self.max_output_tokens or UNBOUNDED_TOKENS)

    @property
    def costs_money(self) -> bool:
        """Whether the upstream's account needs credit for it; an unknown price is one."""
        return not is_free_variant(self.id) and (self.price is None or self.price.cost_usd(1, 1) > 0)
