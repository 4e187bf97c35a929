"""Eligibility by capability: which arms can serve what a request requires, before one of them is drawn.

| what is known of an arm | in the draw | as a fallback | where no arm is left |
|---|---|---|---|
| it fits, or nothing is known | yes | yes | |
| it fits by the least estimate of the tokens only, or lacks what upstreams make up for (`SOFT`) | no | yes | drawn |
| it has refused such a request lately (`learned_limits.py`) | no | no | drawn |
| it lacks a feature, or has no room even by the least estimate | no | no | 400 `no_capable_model` |

Which arms are in depends on the request and on what is known, never on the draw: propensities are exact over the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from services.gateway.catalogue import Catalogue
from services.gateway.learned_limits import LearnedLimits
from shared.bandit.arms import Arm, ArmId
from shared.bandit.decision import UnfitArm
from shared.errors import InvalidRequest
from shared.schemas.requirements import CONTEXT, MAX_TOKENS, TOOL_HISTORY, Requirements, field_of, words_of
from shared.values import dataclass

_INPUTS = frozenset({"image", "audio", "file", "video"})
SOFT = frozenset({"file", "reasoning"})
"""OpenRouter parses files for models that take text alone, and upstreams ignore a wish for reasoning."""

KNOWN, ESTIMATED, LEARNED = "known", "estimated", "learned"


class Level(IntEnum):
    """How well an arm fits a request."""

    FITS = 0
    DOUBTFUL = 1
    REFUSED = 2
    UNFIT = 3


class Shortfall(NamedTuple):
    """What an arm lacks for a request: the feature, and how that is known."""

    level: Level
    feature: str
    basis: str


@dataclass(frozen=True, slots=True)
class Eligible:
    """The arms of one request.

    Attributes:
        arms: to draw from.
        reserve: those that may fit, too, in the order of LLM_MODELS: only asked when others fail.
        default: DEFAULT_MODEL where it may answer, else None.
        unfit: the arms that are left out of the draw, and why.
    """

    arms: tuple[ArmId, ...]
    reserve: tuple[ArmId, ...] = ()
    default: ArmId | None = None
    unfit: tuple[UnfitArm, ...] = ()


def known_shortfall(arm: Arm, needs: Requirements) -> Shortfall | None:
    """Return what `arm` lacks by what the upstream lists of it; None where it fits or nothing is known."""
    lacking = [feature for feature in needs.features if _is_missing(feature, arm)] if needs.features else ()
    certain = [feature for feature in lacking if feature not in SOFT]
    if certain:
        return Shortfall(Level.UNFIT, min(certain), KNOWN)
    wanted, context, longest = needs.output_tokens, arm.context_tokens, arm.max_output_tokens
    if longest is not None and wanted > longest:
        return Shortfall(Level.UNFIT, MAX_TOKENS, KNOWN)
    if context is not None:
        if needs.least_prompt_tokens + wanted > context:
            feature = CONTEXT if needs.least_prompt_tokens > context else MAX_TOKENS
            return Shortfall(Level.UNFIT, feature, KNOWN)
        if needs.prompt_tokens + wanted > context:
            return Shortfall(Level.DOUBTFUL, CONTEXT, ESTIMATED)
    return Shortfall(Level.DOUBTFUL, min(lacking), KNOWN) if lacking else None


def _is_missing(feature: str, arm: Arm) -> bool:
    """Return whether the upstream lists what `arm` has of that kind, and the feature is not among it."""
    if feature in _INPUTS:
        known, name = arm.input_modalities, feature
    elif feature.startswith("output:"):
        known, name = arm.output_modalities, feature[7:]
    else:
        known, name = arm.parameters, feature
    return known is not None and name not in known and feature != TOOL_HISTORY


def eligible(
    allowed: tuple[ArmId, ...],
    default: ArmId | None,
    needs: Requirements,
    catalogue: Catalogue,
    learned: LearnedLimits,
) -> Eligible:
    """Return who may be drawn, and who may answer otherwise; `arms` and `default` are both empty where nobody can."""
    if not learned and not catalogue.lists_limits:
        return Eligible(allowed, default=default)
    short: dict[ArmId, Shortfall] = {}
    for arm in allowed if default is None or default in allowed else (*allowed, default):
        found = _shortfall(arm, needs, catalogue, learned)
        if found is not None:
            short[arm] = found
    if not short:
        return Eligible(allowed, default=default)
    return _sifted(allowed, default, short)


def _shortfall(arm: ArmId, needs: Requirements, catalogue: Catalogue, learned: LearnedLimits) -> Shortfall | None:
    listed = catalogue.listing(arm)
    known = None if listed is None else known_shortfall(listed, needs)
    if known is not None and known.level is Level.UNFIT:
        return known
    feature = learned.lacks(arm, needs) if learned else None
    return known if feature is None else Shortfall(Level.REFUSED, feature, LEARNED)


def _sifted(allowed: tuple[ArmId, ...], default: ArmId | None, short: Mapping[ArmId, Shortfall]) -> Eligible:
    def level(arm: ArmId) -> Level:
        return short[arm].level if arm in short else Level.FITS

    best = min(map(level, allowed), default=Level.UNFIT)
    resort = Level.UNFIT if default is None else level(default)
    if best >= Level.REFUSED and resort < best:  # DEFAULT_MODEL alone
        drawn: tuple[ArmId, ...] = ()
    else:
        drawn = tuple(arm for arm in allowed if level(arm) == best) if best < Level.UNFIT else ()
    reserve = tuple(arm for arm in allowed if level(arm) == Level.DOUBTFUL and arm not in drawn)
    usable = resort < Level.REFUSED or (resort == Level.REFUSED and best >= Level.REFUSED)
    unfit = tuple((arm, short[arm].feature, short[arm].basis) for arm in allowed if arm in short and arm not in drawn)
    return Eligible(drawn, reserve, default if usable else None, unfit)


def refusal(
    arms: Sequence[ArmId], needs: Requirements, catalogue: Catalogue, body: Mapping[str, Any]
) -> InvalidRequest:
    """Return the error of a request that none of `arms` can serve: what is missing, and which field asks for it."""
    known = [catalogue.arm(arm) for arm in arms]
    features = Counter(found.feature for arm in known if (found := known_shortfall(arm, needs)) is not None)
    if not features:
        features[CONTEXT] = 1
    feature = min(features, key=lambda name: (-features[name], name))
    remedy = "Leave it out, or name a model that supports it."
    if feature == CONTEXT:
        longest = max([arm.context_tokens or 0 for arm in known])
        remedy = f"The maximum context length is {longest} tokens: shorten the messages."
    elif feature == MAX_TOKENS:
        remedy = "Ask for fewer tokens, or shorten the messages."
    return InvalidRequest(
        f"None of the models that may answer supports {words_of(sorted(features))}. {remedy}",
        code="no_capable_model",
        param=field_of(feature, body),
    )


def left_out(unfit: Sequence[UnfitArm]) -> str:
    """Return a sentence about the arms that were left out of a draw."""
    by_feature: dict[str, list[ArmId]] = {}
    for arm, feature, _ in unfit:
        by_feature.setdefault(feature, []).append(arm)
    groups = [f"{_some(arms)} ({feature})" for feature, arms in by_feature.items()]
    return f"Left out for what the request needs: {', '.join(groups)}."


def _some(arms: Sequence[ArmId]) -> str:
    shown = ", ".join(arms[:_SHOWN])
    return shown if len(arms) <= _SHOWN else f"{shown} and {len(arms) - _SHOWN} more"


_SHOWN = 3
