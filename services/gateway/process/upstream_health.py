"""Health of the upstreams: each one's list of models, key and credit, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.model_lists import UpstreamList
from services.gateway.process.health_part import Part
from shared.resilience.upstream_account import Account
from shared.resilience.upstream_circuits import CircuitBreakers


def upstream_parts(catalogue: Catalogue, breakers: CircuitBreakers) -> dict[str, Part]:
    """Return the state of each upstream by its name."""
    return {name: _part(one, breakers.account_at(name)) for name, one in catalogue.lists.lists.items()}


def all_upstreams(parts: Mapping[str, Part]) -> Part:
    """Return the state of all: down only where all are down; with one upstream, its own."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    states = {part.status for part in parts.values()}
    status = states.pop() if len(states) == 1 else "degraded"
    slowest = max((part.latency_ms for part in parts.values() if part.latency_ms is not None), default=None)
    detail = "; ".join(f"{name}: {part.detail}" for name, part in parts.items())
    return Part(status, latency_ms=slowest, detail=detail)


def _part(one: UpstreamList, account: Account) -> Part:
    latency_ms = None if one.fetch_s is None else round(one.fetch_s * 1000, 2)
    if one.age_s is None:
        why = one.error and f"its models are unknown: {one.error}"
        return Part("down" if one.error else "unknown", detail=why)
    detail = f"{len(one.arms)} models, read {one.age_s:.0f} s ago"
    if not one.has_list:
        detail = f"it has no list of models (asked {one.age_s:.0f} s ago): prices are unknown"
    refused = _refused(account)
    if refused is not None:
        detail = refused
    return Part("degraded" if one.error or refused is not None else "ok", latency_ms=latency_ms, detail=detail)


def _refused(account: Account) -> str | None:
    """Return what the upstream refuses of our account, or None."""
    if account.key.refused:
        return "our key is refused: check OPENROUTER_API_KEY, or the key in MODELS_FILE"
    if account.credit.refused:
        return "models that cost money are refused: the account needs credit"
    return None
