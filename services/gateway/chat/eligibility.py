"""Eligibility by capability: selects the arms that can serve a request, before the policy draws one of them.

| what is known of an arm | in the draw | as a fallback | where no arm is left |
|---|---|---|---|
| it fits, or nothing is known | yes | yes | |
| it fits only by the least estimate of the tokens, or lacks a preference (`SOFT`) | no | yes | drawn |
| it has refused such a request lately (`learned_limits.py`) | no | no | drawn |
| it lacks a feature, or room even for the least estimate | no | no | 400 `no_capable_model` |

Eligibility depends on the request and on what is known, never on the draw, so that propensities are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from msgspec import Struct

from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.models.catalogue import Catalogue
from shared.bandit.arms import Arm, ArmId
from shared.bandit.decision import UnfitArm
from shared.errors import InvalidRequest
from shared.schemas.requirements import CONTEXT, INPUTS, MAX_TOKENS, PARAMETERS, Requirements, field_of, words_of

_NOTHING: frozenset[str] = frozenset()
_INPUTS = frozenset(INPUTS)
_PARAMETERS = frozenset(PARAMETERS)
SOFT = frozenset({"file", "reasoning"})
"""Preferences: OpenRouter parses files for models that take text alone, and upstreams ignore a wish for reasoning."""

KNOWN, ESTIMATED, LEARNED = "known", "estimated", "learned"


class Level(IntEnum):
    """How well an arm fits a request."""

    FITS = 0
    DOUBTFUL = 1
    REFUSED = 2
    UNFIT = 3


class Shortfall(NamedTuple):
    """A feature that an arm lacks for a request, how well the arm fits therefore, and how that is known."""

    level: Level
    feature: str
    basis: str


class Eligible(Struct, frozen=True):
    """The arms that can serve one request.

    Attributes:
        arms: the arms to draw from.
        reserve: arms that may fit, in the order of LLM_MODELS, called only when others fail.
        default: DEFAULT_MODEL if it can serve the request, else None.
        unfit: the arms that are excluded from the draw, each with its feature and how that is known.
    """

    arms: tuple[ArmId, ...]
    reserve: tuple[ArmId, ...] = ()
    default: ArmId | None = None
    unfit: tuple[UnfitArm, ...] = ()


class _Needs(NamedTuple):
    """Requirements in the form that arms are compared with: made once for a request, a few set operations per arm."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    parameters: frozenset[str]
    output_tokens: int
    least_tokens: int
    cautious_tokens: int


def _split(needs: Requirements) -> _Needs:
    inputs = outputs = parameters = _NOTHING
    if needs.features:
        inputs = needs.features & _INPUTS
        outputs = frozenset([feature[7:] for feature in needs.features if feature.startswith("output:")])
        parameters = needs.features & _PARAMETERS
    wanted = needs.output_tokens
    return _Needs(inputs, outputs, parameters, wanted, needs.least_prompt_tokens + wanted, needs.prompt_tokens + wanted)


def known_shortfall(arm: Arm, needs: Requirements) -> Shortfall | None:
    """Return what `arm` lacks according to the upstream's list; None where it fits or nothing is known."""
    return _lacks(arm, _split(needs))


def _lacks(arm: Arm, needs: _Needs) -> Shortfall | None:
    lacking = _missing(arm, needs)
    certain = [feature for feature in lacking if feature not in SOFT] if lacking else None
    if certain:
        return Shortfall(Level.UNFIT, min(certain), KNOWN)
    context, longest = arm.context_tokens, arm.max_output_tokens
    if longest is not None and needs.output_tokens > longest:
        return Shortfall(Level.UNFIT, MAX_TOKENS, KNOWN)
    if context is not None and needs.cautious_tokens > context:
        if needs.least_tokens <= context:
            return Shortfall(Level.DOUBTFUL, CONTEXT, ESTIMATED)
        prompt_fits = needs.least_tokens - needs.output_tokens <= context
        return Shortfall(Level.UNFIT, MAX_TOKENS if prompt_fits else CONTEXT, KNOWN)
    return Shortfall(Level.DOUBTFUL, min(lacking), KNOWN) if lacking else None


def _missing(arm: Arm, needs: _Needs) -> list[str]:
    """Return the required features that the upstream's list denies; none where the list has nothing about them."""
    missing: list[str] = []
    if needs.inputs and arm.input_modalities is not None and not needs.inputs <= arm.input_modalities:
        missing += needs.inputs - arm.input_modalities
    if needs.outputs and arm.output_modalities is not None and not needs.outputs <= arm.output_modalities:
        missing += [f"output:{name}" for name in needs.outputs - arm.output_modalities]
    if needs.parameters and arm.parameters is not None and not needs.parameters <= arm.parameters:
        missing += needs.parameters - arm.parameters
    return missing


def eligible(
    allowed: tuple[ArmId, ...],
    default: ArmId | None,
    needs: Requirements,
    catalogue: Catalogue,
    learned: LearnedLimits,
) -> Eligible:
    """Return the arms that can serve a request; `arms` and `default` are both empty where none can."""
    plain = not needs.features and needs.prompt_tokens + needs.output_tokens <= catalogue.room
    if not learned and (plain or not catalogue.lists_limits):
        return Eligible(allowed, default=default)
    short: dict[ArmId, Shortfall] = {}
    compared = _split(needs)
    for arm in allowed if default is None or default in allowed else (*allowed, default):
        listed = catalogue.listing(arm)
        found = None if listed is None else _lacks(listed, compared)
        if learned and (found is None or found.level is not Level.UNFIT):
            feature = learned.lacks(arm, needs)
            found = found if feature is None else Shortfall(Level.REFUSED, feature, LEARNED)
        if found is not None:
            short[arm] = found
    if not short:
        return Eligible(allowed, default=default)
    return _sifted(allowed, default, short)


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
    """Return the error for a request that none of `arms` can serve: the missing feature, and its field."""
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
    """Return a sentence about the arms that were excluded from a draw."""
    by_feature: dict[str, list[ArmId]] = {}
    for arm, feature, _ in unfit:
        by_feature.setdefault(feature, []).append(arm)
    groups = [f"{_some(arms)} ({feature})" for feature, arms in by_feature.items()]
    return f"Excluded by what the request needs or limits: {', '.join(groups)}."


def _some(arms: Sequence[ArmId]) -> str:
    shown = ", ".join(arms[:_SHOWN])
    return shown if len(arms) <= _SHOWN else f"{shown} and {len(arms) - _SHOWN} more"


_SHOWN = 3
