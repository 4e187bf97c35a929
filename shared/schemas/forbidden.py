"""Forbidden body fields: those by which an upstream or a client library would bypass the router.

Nothing of a body ever reaches our HTTP client's address or headers. Refusing the fields that would choose another
address or key tells the caller, instead of ignoring a wish (LiteLLM's CVE-2024-6587 was an `api_base` in the body).
They count at the top level and in `provider`; in metadata, schemas, messages and tools they are the caller's own data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidRequest

DIALLING = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "default_headers", "default_query",
        "extra_body", "extra_headers", "extra_query", "http_client", "litellm_params", "organization_id", "user_config",
    }
)  # fmt: skip

REROUTING = frozenset({"fallbacks", "preset", "route"})
"""OpenRouter's fields that change the model without our knowledge. `models` is ours: it limits the arms."""

PLUGINS = frozenset({"context-compression", "file-parser", "moderation", "response-healing"})
"""OpenRouter's plugins that change neither the model nor its list price. `web`, `web-fetch` and those that choose among
models (`auto-router`, `fusion`, `pareto-router`) do."""

PROVIDER_WISHES = frozenset(
    {
        "allow_fallbacks", "data_collection", "enforce_distillable_text", "ignore", "max_price", "only", "order",
        "preferred_max_latency", "preferred_min_throughput", "quantizations", "require_parameters", "sort", "zdr",
    }
)  # fmt: skip
"""OpenRouter's `provider`: choices among the providers of one model, which are the caller's. Others are dropped."""

MAX_IGNORED = 8
_HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def refuse_forbidden(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if `body` contains a field that would bypass the router."""
    for name in sorted(DIALLING & body.keys()):
        raise _dialling(name)
    for name in sorted(REROUTING & body.keys()):
        if body[name]:
            raise _unsupported(name, f"`{name}` would change the model behind the router. `models` narrows its choice.")
    if body.get("plugins"):
        _check_plugins(body["plugins"])
    provider = body.get("provider")
    if isinstance(provider, dict):
        for name in sorted(DIALLING & provider.keys()):
            raise _dialling(f"provider.{name}")


def known_wishes(provider: object) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the part of `provider` that the upstream gets, and the names of dropped wishes, safe for a header."""
    if not isinstance(provider, dict):
        return None, ("provider",)
    known = {name: value for name, value in provider.items() if name in PROVIDER_WISHES}
    dropped = [f"provider.{name}" for name in provider if name not in PROVIDER_WISHES and _HEADER_SAFE.fullmatch(name)]
    if len(known) + len(dropped) < len(provider):
        dropped.append("provider.*")
    return known or None, tuple(dropped[:MAX_IGNORED])


def _check_plugins(plugins: object) -> None:
    if not isinstance(plugins, list):
        raise InvalidRequest("`plugins` must be a list of objects.", code="invalid_type", param="plugins")
    for index, plugin in enumerate(plugins):
        name = plugin.get("id") if isinstance(plugin, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest(
                "A plugin must be an object with an `id`, a string.", code="invalid_type", param=f"plugins[{index}]"
            )
        if name not in PLUGINS and plugin.get("enabled") is not False:
            raise _unsupported(
                f"plugins[{index}].id",
                f"That plugin may change the model or its price. These pass: {', '.join(sorted(PLUGINS))}.",
            )


def _dialling(param: str) -> InvalidRequest:
    name = param.rpartition(".")[2]
    return _unsupported(param, f"`{name}` does not change which address or key the router uses. Remove it.")


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_parameter", param=param)
