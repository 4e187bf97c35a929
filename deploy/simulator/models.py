"""Simulated models, and the worlds that produce their replies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

from deploy.simulator.capabilities import ALWAYS, JSON, LOGPROBS, REASONING, TOOLS, Capabilities
from deploy.simulator.recorded_outcomes import CHARS_PER_TOKEN, Outcomes
from shared.bandit.arms import Price

MILLION = 1e6
FREE = Price(0.0, 0.0)
EVERYTHING = Capabilities()


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A simulated model.

    Attributes:
        id: `provider/model-name`.
        price: USD per token; None: the model list has none.
        latency_s: median latency of a whole response, before `--speed`.
        quality: mean score of its answers.
        failure_rate: share of requests that get 429, as free models do.
        can: its capabilities.
    """

    id: str
    price: Price | None
    latency_s: float
    quality: float
    failure_rate: float = 0.0
    can: Capabilities = EVERYTHING

    @property
    def benchmark(self) -> float:
        """Index of public benchmarks in the model list, 0 to 100: close to the quality, and not the same."""
        digest = hashlib.blake2b(self.id.encode(), digest_size=4).digest()
        noise = int.from_bytes(digest) / 2**32 - 0.5
        return round(100 * min(1.0, max(0.0, 0.7 * self.quality + 0.1 * noise)), 1)


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a model to one prompt, with its quality (0 to 1), tokens and cost (USD)."""

    text: str
    quality: float
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class World(Protocol):
    """Source of replies."""

    models: dict[str, SimulatedModel]

    def reply(self, model: SimulatedModel, prompt: str, prompt_chars: int) -> Reply:
        """Return the reply of `model` to `prompt`, the last user message; always the same."""
        ...


def _text(context: int, *parameters: str) -> Capabilities:
    """Return the capabilities of a text model with these parameters."""
    return Capabilities(context, inputs=("text",), parameters=(*ALWAYS, *parameters))


_SEES = replace(_text(96_000, "response_format"), inputs=("text", "image"))
_CLAUDE = Capabilities(200_000, 8192, ("text", "image", "file"), parameters=(*ALWAYS, *TOOLS, *JSON))
_GEMINI = Capabilities(1_048_576, 65_535, parameters=(*ALWAYS, *TOOLS, *JSON, *REASONING))
_GPT = Capabilities(128_000, 16_384, ("text", "image", "file"), parameters=(*ALWAYS, *TOOLS, *JSON, *LOGPROBS))


def _paid(
    name: str, prompt: float, completion: float, latency_s: float, quality: float, *, can: Capabilities
) -> SimulatedModel:
    return SimulatedModel(name, Price(prompt / MILLION, completion / MILLION), latency_s, quality, can=can)


def _free(name: str, latency_s: float, quality: float, failures: float = 0.0, *, can: Capabilities) -> SimulatedModel:
    return SimulatedModel(name, FREE, latency_s, quality, failures, can)


DEFAULT_MODELS = (
    _free("deepseek/deepseek-r1-0528:free", 0.9, 0.78, can=_text(163_840, *REASONING)),
    _free("google/gemma-3-27b-it:free", 0.5, 0.66, can=_SEES),
    _free("meta-llama/llama-3.3-70b-instruct:free", 0.7, 0.72, can=_text(65_536, *TOOLS, "response_format")),
    _free("openai/gpt-oss-20b:free", 0.3, 0.60, can=replace(_text(32_768, *TOOLS, *JSON, *LOGPROBS), max_output=8192)),
    _free("z-ai/glm-4.5-air:free", 1.1, 0.80, 0.01, can=_text(131_072, *TOOLS, *REASONING)),
    _paid("anthropic/claude-3.5-sonnet", 3.0, 15.0, 1.0, 0.90, can=_CLAUDE),
    _paid("anthropic/claude-3.5-haiku", 0.8, 4.0, 0.5, 0.80, can=_CLAUDE),
    _paid("google/gemini-2.5-flash", 0.3, 2.5, 0.4, 0.82, can=_GEMINI),
    _paid("google/gemini-2.5-pro", 1.25, 10.0, 1.6, 0.93, can=_GEMINI),
    _paid("openai/gpt-4o", 2.5, 10.0, 0.8, 0.88, can=_GPT),
    _paid("openai/gpt-4o-mini", 0.15, 0.6, 0.4, 0.76, can=_GPT),
)


class InventedWorld:
    """World of replies derived from a hash of model and prompt."""

    def __init__(self, models: tuple[SimulatedModel, ...] = DEFAULT_MODELS) -> None:
        self.models = {model.id: model for model in models}

    def reply(self, model: SimulatedModel, prompt: str, prompt_chars: int) -> Reply:
        """See `World`."""
        digest = hashlib.blake2b(f"{model.id}\0{prompt}".encode(errors="replace"), digest_size=8).digest()
        noise = int.from_bytes(digest[:4]) / 2**32 - 0.5
        words = 12 + digest[4] % 48
        text = canned(model.id, words)
        prompt_tokens, completion_tokens = max(1, prompt_chars // CHARS_PER_TOKEN), len(text) // CHARS_PER_TOKEN
        return Reply(
            text,
            quality=min(1.0, max(0.0, round(model.quality + 0.4 * noise, 3))),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=(model.price or FREE).cost_usd(prompt_tokens, completion_tokens),
        )


class RecordedWorld:
    """World of replies with recorded quality, tokens and cost, and a canned text.

    The data has no latency: models get 40 to 120 ms, in order of their mean cost. A prompt that is not in the data gets
    an invented reply of the model's mean quality.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self._rows = {prompt: row for row, prompt in enumerate(outcomes.prompts)}
        self._columns = {model: column for column, model in enumerate(outcomes.models)}
        by_cost = sorted(self._columns.values(), key=lambda column: float(outcomes.costs[:, column].mean()))
        step = 0.08 / max(1, len(by_cost) - 1)
        self.models = {
            model: SimulatedModel(
                model,
                outcomes.prices[column],
                latency_s=0.04 + step * by_cost.index(column),
                quality=float(outcomes.scores[:, column].mean()),
            )
            for model, column in self._columns.items()
        }
        self._invented = InventedWorld(tuple(self.models.values()))

    def reply(self, model: SimulatedModel, prompt: str, prompt_chars: int) -> Reply:
        """See `World`."""
        row = self._rows.get(prompt)
        if row is None or model.id not in self._columns:
            return self._invented.reply(model, prompt, prompt_chars)
        cell = row, self._columns[model.id]
        return Reply(
            canned(model.id, 24),
            quality=float(self._outcomes.scores[cell]),
            prompt_tokens=int(self._outcomes.prompt_tokens[cell]),
            completion_tokens=int(self._outcomes.completion_tokens[cell]),
            cost_usd=float(self._outcomes.costs[cell]),
        )


_WORDS = ("This", "is", "a", "simulated", "answer.", "It", "stands", "for", "what", "the", "model", "would", "say,")


def canned(model: str, words: int) -> str:
    """Return a text of about that many words that names its model."""
    body = " ".join(_WORDS[index % len(_WORDS)] for index in range(words))
    return f"[simulated {model}] {body}."
