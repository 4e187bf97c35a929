"""Parser of `GET /models` of upstreams: OpenAI's and OpenRouter's shape, and other common ones.

| shape | seen at |
|---|---|
| `{"data": [{"id": ...}]}` | OpenAI, OpenRouter, vLLM |
| `[{"id": ...}]` | Together |
| `{"models": [{"name": ...}]}` or `{"model": ...}` | Ollama, Google, Cohere |
| `{"some/model": {...}}`, also within `data` or `models` | lists by id |

An unreadable entry is dropped alone, and a field of a wrong type is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.bandit.arms import Arm, Price
from shared.clients.answers import BadAnswer
from shared.clients.upstream_json import amount_of, count_of, name_of

_WRAPPERS = ("data", "models")
_NAMES = ("name", "model")
MAX_WORDS = 256
"""Modalities or parameters of one model."""

MAX_REQUEST_USD = 1_000.0
MAX_INDEX = 100.0
"""Of Artificial Analysis' indices."""

MAX_TIME = 1e11
"""Unix seconds, about the year 5000."""

_CONTEXT = ("context_length", "context_window", "max_model_len", "max_context_length")
"""What OpenRouter, Groq, vLLM and Mistral call a model's context."""


def arms_of(body: object) -> tuple[Arm, ...]:
    """Return the models of a list in any of the shapes above. Raises BadAnswer."""
    arms = [arm for entry in _entries(body) if (arm := arm_of(_with_id(entry))) is not None]
    return tuple({arm.id: arm for arm in arms}.values())


def _entries(body: object) -> Iterable[Mapping[str, Any]]:
    """Return the entries that are objects. Raises BadAnswer where there is no list."""
    listed = body
    if isinstance(body, dict):
        wrapper = next((name for name in _WRAPPERS if name in body), None)
        if wrapper is not None:
            listed = [] if body[wrapper] is None else body[wrapper]  # null: Ollama without a model
        elif not body or "error" in body or not all(isinstance(entry, dict) for entry in body.values()):
            raise BadAnswer("no list of models")
    if isinstance(listed, dict):
        return [{"id": name, **entry} for name, entry in listed.items() if isinstance(entry, dict)]
    if not isinstance(listed, list):
        raise BadAnswer("no list of models")
    return [entry for entry in listed if isinstance(entry, dict)]


def _with_id(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry with another name of the model as its id, where it has none."""
    if isinstance(entry.get("id"), str):
        return entry
    name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    return {**entry, "id": name}


def arm_of(entry: Any) -> Arm | None:
    """Return the model that an entry describes, or None where it has no usable name."""
    name = name_of(entry.get("id")) if isinstance(entry, dict) else None
    if name is None:
        return None
    provider, architecture = _object(entry.get("top_provider")), _object(entry.get("architecture"))
    takes, gives = _modality(architecture.get("modality"))
    return Arm(
        name,
        _price(entry.get("pricing")),
        context_tokens=_context([entry.get(name) for name in _CONTEXT] + [provider.get("context_length")]),
        max_output_tokens=_tokens(provider.get("max_completion_tokens")),
        input_modalities=_words(architecture.get("input_modalities")) or takes,
        output_modalities=_words(architecture.get("output_modalities")) or gives,
        parameters=_words(entry.get("supported_parameters")),
        created=amount_of(entry.get("created"), MAX_TIME),
        benchmark=_benchmark(entry.get("benchmarks")),
    )


def _price(pricing: Any) -> Price | None:
    if not isinstance(pricing, dict):
        return None
    prompt, completion = (amount_of(pricing.get(name), 1.0) for name in ("prompt", "completion"))
    request = amount_of(pricing.get("request") or 0, MAX_REQUEST_USD)
    cache_read = amount_of(pricing.get("input_cache_read"), 1.0)
    if prompt is None or completion is None or request is None:
        return None
    return Price(prompt, completion, request, cache_read)


def _benchmark(benchmarks: Any) -> float | None:
    """Return the general index. Those of coding and of agents are other scales: a mean would compare unlike models."""
    indices = _object(_object(benchmarks).get("artificial_analysis"))
    index = amount_of(indices.get("intelligence_index"), MAX_INDEX)
    return None if index is None else index / MAX_INDEX


def _context(said: list[Any]) -> int | None:
    """Return the largest: another provider of the model may take more than the first one."""
    known = [tokens for tokens in map(_tokens, said) if tokens is not None]
    return max(known, default=None)


def _tokens(value: Any) -> int | None:
    """Return a limit, or None for 0, which means unknown. Whole numbers may be floats (JavaScript)."""
    return count_of(int(value) if isinstance(value, float) and value.is_integer() else value) or None


def _words(value: Any) -> frozenset[str] | None:
    """Return the strings of a list; None for an empty one, which means unknown."""
    if not isinstance(value, list):
        return None
    return frozenset([word.lower() for word in value[:MAX_WORDS] if isinstance(word, str)]) or None


def _modality(value: Any) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """Return inputs and outputs of the older form `text+image->text`."""
    takes, arrow, gives = value.partition("->") if isinstance(value, str) else ("", "", "")
    return (_split(takes), _split(gives)) if arrow else (None, None)


def _split(text: str) -> frozenset[str] | None:
    return frozenset([word.strip().lower() for word in text.split("+") if word.strip()]) or None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
