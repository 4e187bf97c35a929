"""Usage of an answer as the upstream reports it: tokens and cost, each figure checked by itself.

OpenRouter reports in `usage.cost` what it charged the account. For a request that went out with the account's own
provider key (BYOK) that is a fee or 0, and the provider's charge stands beside it, in
`cost_details.upstream_inference_cost`; for other requests that field is null, or a part of `cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.clients.upstream_json import MAX_COST_USD, MAX_TOKENS, amount_of
from shared.logs import get_logger
from shared.schemas.upstream import Usage

_log = get_logger(__name__)


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """Return the usage of an answer; None where it reports none of the figures."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    impossible: list[str] = []
    prompt = _read(usage, "prompt_tokens" if "prompt_tokens" in usage else "input_tokens", MAX_TOKENS, impossible)
    answer = "completion_tokens" if "completion_tokens" in usage else "output_tokens"
    completion = _read(usage, answer, MAX_TOKENS, impossible)
    total = _read(usage, "total_tokens", 2 * MAX_TOKENS, impossible)
    if total is not None and prompt is None and completion is not None:
        prompt = max(0.0, total - completion)
    elif total is not None and completion is None and prompt is not None:
        completion = max(0.0, total - prompt)
    cost_usd = _cost_usd(usage, impossible)
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    cached = _read(details, "cached_tokens", MAX_TOKENS, impossible) if isinstance(details, dict) else None
    if impossible:
        _log.warning("impossible figures in the upstream's usage were ignored", figures=impossible)
    if prompt is None and completion is None and cost_usd is None:
        return None
    if cached is not None and prompt is not None:
        cached = min(cached, prompt)
    return Usage(_whole(prompt), _whole(completion), cost_usd, _whole(cached))


def _cost_usd(usage: Mapping[str, Any], impossible: list[str]) -> float | None:
    """Return what the answer cost: OpenRouter's charge and, for BYOK, the provider's beside it."""
    parts = usage.get("cost")
    if isinstance(parts, dict):  # Perplexity's
        return _read(parts, "total_cost", MAX_COST_USD, impossible)
    charged = _read(usage, "cost", MAX_COST_USD, impossible)
    details = usage.get("cost_details")
    inner = details if isinstance(details, dict) else {}
    upstream = _read(inner, "upstream_inference_cost", MAX_COST_USD, impossible)
    own_key = usage.get("is_byok")
    if own_key is None:  # not reported: a charge of OpenRouter's covers the provider's, a fee does not
        own_key = upstream is not None and upstream > (charged or 0.0)
    if own_key is not True:
        return charged
    return None if upstream is None else (charged or 0.0) + upstream


def _read(source: Mapping[str, Any], name: str, limit: float, impossible: list[str]) -> float | None:
    value = source.get(name)
    figure = amount_of(value, limit)
    if figure is None and value is not None:
        impossible.append(name)
    return figure


def _whole(figure: float | None) -> int | None:
    return None if figure is None else round(figure)
