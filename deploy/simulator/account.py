"""Simulated new OpenRouter account, without credit: its model list, limits and errors.

| request | response |
|---|---|
| model with a price | 402, with any `max_tokens` |
| free model, more than 20 in a minute | 429 `free-models-per-min`; resets with the minute |
| free model, more than 50 in a day (UTC) | 429 `free-models-per-day`; resets at midnight |

Both 429 carry `X-RateLimit-Limit`, `-Remaining` and `-Reset` (milliseconds), as headers and in the body, in
`error.metadata.headers`. A refused request counts against neither limit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from deploy.simulator.models import FREE, MILLION, SimulatedModel
from shared.bandit.arms import Price

PER_MINUTE = 20
PER_DAY = 50
MINUTE_S = 60
DAY_S = 86_400

_CREATED = 1_780_000_000
"""Creation time of the newest model; each further entry is some days older."""

_NO_CREDIT = (
    "Insufficient credits. This account never purchased credits. Make sure your key is on the correct account or org, "
    "and if so, purchase more at https://openrouter.ai/settings/credits"
)


def _free(name: str, latency_s: float = 0.4, quality: float = 0.7) -> SimulatedModel:
    return SimulatedModel(name, FREE, latency_s, quality)


def _paid(name: str, prompt: float, completion: float) -> SimulatedModel:
    return SimulatedModel(name, Price(prompt / MILLION, completion / MILLION), 0.8, 0.85)


MODELS = (
    _free("nova/nova-3-120b:free", 0.5, 0.8),
    _free("anthropic/claude-tiny-4b:free"),
    _free("deepseek/deepseek-v4:free", 0.9, 0.82),
    _paid("anthropic/claude-sonnet-4.5", 3.0, 15.0),
    _paid("anthropic/claude-opus-4.5", 5.0, 25.0),
    _free("google/gemma-4-31b-it:free"),
    _free("google/gemma-4-4b-it:free"),
    _free("qwen/qwen4-80b-a3b:free"),
    _free("qwen/qwen4-coder:free"),
    _free("meta-llama/llama-3.3-70b-instruct:free"),
    _free("openai/gpt-oss-120b:free"),
    _free("openai/gpt-oss-20b:free"),
    _free("z-ai/glm-4.5-air:free"),
    _free("meta-llama/llama-guard-4-12b:free"),
    _free("google/lyria-3:free"),
    _free("small/short-context-9b:free"),
    _free("openrouter/free"),
    _free("openrouter/auto"),
    _paid("switchpoint/router", 0.85, 3.4),
    _paid("openai/gpt-5", 1.25, 10.0),
    _paid("anthropic/claude-sonnet-4", 3.0, 15.0),
)
"""The list: free and paid models, routers, and free models that are not for chat. The default of DEFAULT_MODEL, Claude
3.5 Sonnet, is no longer in it, nor are most of the free models of a year before."""

_LISTED: Mapping[str, Mapping[str, Any]] = {
    "openrouter/auto": {"pricing": {"prompt": "-1", "completion": "-1"}},
    "small/short-context-9b:free": {"context_length": 8192, "top_provider": {"context_length": 8192}},
    "google/lyria-3:free": {
        "architecture": {
            "modality": "text->text+audio",
            "input_modalities": ["text"],
            "output_modalities": ["text", "audio"],
        }
    },
}
"""Entries that differ from those of a plain text model."""


class NewAccount:
    """Usage of the account's key. `now` returns Unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._minutes = Counter[int]()
        self._days = Counter[int]()

    def listed(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an entry of the model list as this account sees it."""
        age = next((number for number, model in enumerate(MODELS) if model.id == entry["id"]), len(MODELS))
        return {**entry, "created": _CREATED - 5 * DAY_S * age, **_LISTED.get(entry["id"], {})}

    def error_for(self, model: SimulatedModel) -> web.Response | None:
        """Return the error of a request to `model`; None when it is allowed, which counts it."""
        if model.price != FREE or model.id == "openrouter/auto":
            return web.json_response({"error": {"message": _NO_CREDIT, "code": 402}}, status=402)
        now = int(self._now())
        minute, day = now // MINUTE_S, now // DAY_S
        if self._days[day] >= PER_DAY:
            words = "free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
            return _limited(words, PER_DAY, (day + 1) * DAY_S)
        if self._minutes[minute] >= PER_MINUTE:
            return _limited("free-models-per-min. ", PER_MINUTE, (minute + 1) * MINUTE_S)
        self._days[day] += 1
        self._minutes[minute] += 1
        return None


def _limited(words: str, limit: int, resets_at: int) -> web.Response:
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(resets_at * 1000),
    }
    error = {
        "message": f"Rate limit exceeded: {words}",
        "code": 429,
        "metadata": {"headers": headers, "provider_name": None},
    }
    return web.json_response({"error": error, "user_id": "user_simulated"}, status=429, headers=headers)
