"""Fields that would let a caller choose where we dial, with which key, or at whose price.

Nothing of a body ever reaches our HTTP client's address or headers; refusing these fields as well says so to the caller
instead of ignoring a wish (LiteLLM's CVE-2024-6587 was an `api_base` in the body, and its successor the same, nested).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidRequest

DIALLING = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "default_headers", "default_query",
        "extra_body", "extra_headers", "extra_query", "http_client", "litellm_params", "organization_id", "user_config",
    }
)  # fmt: skip
"""Refused wherever they stand, except inside a schema or arguments of a tool, where they are the caller's own data."""

_OWN_DATA = frozenset({"tools", "functions", "response_format"})

PRICING = frozenset({"fallbacks", "plugins", "preset", "route"})
"""OpenRouter's fields that change the model or the price behind our back. `models` is ours: it narrows the arms."""

PROVIDER_WISHES = frozenset({"data_collection", "require_parameters", "zdr"})
"""The parts of OpenRouter's `provider` that go on: they are about privacy and fit, not about price or order."""


def refuse_forbidden(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest where `body` tries to route past us."""
    for name in PRICING:
        if body.get(name):
            raise _unsupported(name)
    provider = body.get("provider")
    if provider is not None:
        wishes = provider.keys() if isinstance(provider, dict) else {""}
        for name in sorted(wishes - PROVIDER_WISHES):
            raise _unsupported(f"provider.{name}".rstrip("."))
    _walk(body)


def _walk(body: Mapping[str, Any]) -> None:
    """Look at every key. The number of values is bounded by the JSON reader; paths are only made for the culprit."""
    waiting: list[tuple[Any, Any]] = [(None, body)]
    while waiting:
        place = waiting.pop()
        value = place[1]
        if isinstance(value, list):
            waiting += [((place, index), item) for index, item in enumerate(value) if isinstance(item, dict | list)]
            continue
        if not DIALLING.isdisjoint(value):
            name = min(DIALLING & value.keys())
            raise _unsupported(f"{_path(place[0])}.{name}".lstrip("."))
        top = place[0] is None
        for name, item in value.items():
            if isinstance(item, dict | list) and not (top and name in _OWN_DATA):
                waiting.append(((place, name), item))


def _path(step: Any) -> str:
    """Return `metadata.deep[0]` for the nested (place, step) pairs that lead there."""
    path = ""
    while step is not None:
        (step, _), name = step
        path = (f"[{name}]" if isinstance(name, int) else f".{name[:64]}") + path
    return path.lstrip(".")


def _unsupported(param: str) -> InvalidRequest:
    return InvalidRequest("This router does not take that parameter.", code="unsupported_parameter", param=param)
