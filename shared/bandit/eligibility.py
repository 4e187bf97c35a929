"""Resolution of a model's name to an arm."""

from __future__ import annotations

from collections.abc import Iterable

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
