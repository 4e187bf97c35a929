"""Eligible arms of a request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from shared.bandit.arms import ArmId


def resolve_arm(name: str, catalogue: Iterable[ArmId]) -> ArmId | None:
    """Return the catalogue's id for `name`: the same id, else the only one that ends in `/name`, else None.

    The default of DEFAULT_MODEL, `claude-3.5-sonnet`, names no provider; `anthropic/claude-3.5-sonnet` is meant.
    """
    ids = set(catalogue)
    if name in ids:
        return name
    matches = [arm for arm in ids if arm.endswith(f"/{name}")]
    return matches[0] if len(matches) == 1 else None


def eligible_arms(
    configured: Sequence[ArmId], *, allowed: Collection[ArmId] = (), cooling: Collection[ArmId] = ()
) -> tuple[ArmId, ...]:
    """Return the configured arms that may answer, in the configured order.

    Args:
        configured: the arms of LLM_MODELS.
        allowed: what the client narrows the choice to; empty for all.
        cooling: arms that failed a moment ago. They are left out, unless nothing else is left to try.
    """
    wanted = tuple(arm for arm in dict.fromkeys(configured) if not allowed or arm in allowed)
    return tuple(arm for arm in wanted if arm not in cooling) or wanted
