"""Variants of a model: OpenRouter accepts suffixes after the id of a listed model, and lists few of them.

A suffix chooses among providers (`:nitro` the fastest, `:floor` the cheapest, `:exacto` those best at tools) or adds
something (`:online` searches the web, at an extra price). `:free` is no such suffix: a free model exists only where it
is listed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from shared.bandit.arms import Arm, ArmId
from shared.bandit.eligibility import resolve_arm

SUFFIXES = frozenset({"nitro", "floor", "online", "exacto", "thinking", "extended", "beta"})
_OF_PROVIDERS = frozenset({"nitro", "floor", "exacto"})
_PRICED_ANEW = frozenset({"online"})


def base_of(name: ArmId) -> ArmId | None:
    """Return the name without its suffix, or None where it has none."""
    base, _, suffix = name.rpartition(":")
    return base if base and suffix in SUFFIXES else None


def meant_among(arms: Collection[ArmId], names: Collection[ArmId]) -> tuple[ArmId, ...]:
    """Return those of `arms` that `names` mean: the same ids, else those of the same models at other providers."""
    models = {_model_of(name) for name in names}
    return tuple(arm for arm in arms if arm in names) or tuple(arm for arm in arms if _model_of(arm) in models)


def _model_of(name: ArmId) -> ArmId:
    base, _, suffix = name.rpartition(":")
    return base if base and suffix in _OF_PROVIDERS else name


def resolve(name: str, listed: Collection[ArmId]) -> ArmId | None:
    """Return the id that `name` means: a listed one, or a variant of a listed one; None where there is neither."""
    found = resolve_arm(name, listed)
    base = base_of(name) if found is None else None
    model = None if base is None else resolve_arm(base, listed)
    return found if base is None or model is None else model + name[len(base) :]


def variant(model: Arm, arm: ArmId) -> Arm:
    """Return `arm`, a variant of `model`: the same limits, and the same price unless its suffix costs extra."""
    suffix = arm.rpartition(":")[2]
    return replace(model, id=arm, price=None if suffix in _PRICED_ANEW else model.price)
