"""Candidates: the arms that may answer a request, by what the client allows, what fits, and the caller's terms.

All of it depends on the request and on what is known, never on the draw, so that propensities are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from services.gateway.chat import ceilings
from services.gateway.chat.eligibility import eligible, refusal
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.policies import DecisionTerms, decision_terms
from services.gateway.models.posterior_cache import Snapshot
from shared.bandit.arms import ArmId
from shared.bandit.decision import UnfitArm
from shared.errors import NotFound, Unavailable
from shared.models_file import Policy
from shared.schemas.chat import ChatRequest

T = TypeVar("T")


class Candidates(Struct, frozen=True):
    """The arms that may answer a request.

    Attributes:
        pinned: the one model that the client names, else None.
        allowed: the arms to draw from; empty where `default` alone can serve the request.
        narrowed: whether the client allows some arms only.
        reserve: arms that may be able to serve it, called only when others fail.
        default: DEFAULT_MODEL, where the client allows it and it can serve the request.
        unfit: arms that the client allows and that are left out of the draw.
        last_resort: the arm that answers where no other can, and where nothing is known; None for a client that allows
            some arms only: it wants no other.
        terms: the caller's own terms; None for those of the settings.
    """

    pinned: ArmId | None
    allowed: tuple[ArmId, ...]
    narrowed: bool
    reserve: tuple[ArmId, ...] = ()
    default: ArmId | None = None
    unfit: tuple[UnfitArm, ...] = ()
    last_resort: ArmId | None = None
    terms: DecisionTerms | None = None


def find_candidates(
    chat: ChatRequest,
    catalogue: Catalogue,
    learned: LearnedLimits,
    policies: Mapping[str, Policy],
    snapshot: Snapshot | None,
) -> Candidates:
    """Return the arms that `chat` allows and that can serve it.

    Raises NotFound for an unknown model or policy, Unavailable where no model is known, and InvalidRequest where none
    that the client allows can serve the request, or is expected to stay below its ceilings. Whether a pinned model can
    serve it, the upstream says.
    """
    terms = None if chat.terms is None else decision_terms(chat.terms, policies)
    if chat.model is not None:
        pinned = catalogue.pin(chat.model)
        if chat.refusal is not None and not (chat.native is not None and catalogue.has_api(pinned, chat.native.api)):
            raise chat.refusal
        allowed = catalogue.narrow(chat.models) if chat.models else catalogue.arm_ids
        found = Candidates(pinned, allowed, narrowed=bool(chat.models), terms=terms)
        return found if terms is None else _below_ceilings(found, terms, chat, catalogue, snapshot)
    if chat.refusal is not None:  # upstreams that know what cannot be translated are the client's to name
        raise chat.refusal
    allowed, narrowed, default = _allowed(chat, catalogue, terms)
    needs = chat.requirements
    if terms is not None and terms.required:
        needs = replace(needs, features=needs.features | terms.required)
    fit = eligible(allowed, default, needs, catalogue, learned)
    if not fit.arms and fit.default is None:
        judged = dict.fromkeys((*allowed, *(() if default is None else (default,))))
        raise refusal(tuple(judged), needs, catalogue, chat.body)
    # A client that narrows the choice wants no other arm; a policy names its own default.
    resort = fit.default if not narrowed or (terms is not None and terms.policy.default is not None) else None
    found = Candidates(None, fit.arms, narrowed, fit.reserve, fit.default, fit.unfit, resort, terms)
    return found if terms is None else _below_ceilings(found, terms, chat, catalogue, snapshot)


def _allowed(
    chat: ChatRequest, catalogue: Catalogue, terms: DecisionTerms | None
) -> tuple[tuple[ArmId, ...], bool, ArmId | None]:
    """Return the arms that client and policy allow, whether that is not all of them, and the default among them."""
    allowed, narrowed = catalogue.arm_ids, False
    policy = None if terms is None else terms.policy
    if policy is not None and policy.arms:
        allowed, narrowed = _of_policy(catalogue, terms, policy), True
    if chat.models:
        wanted = catalogue.narrow(chat.models)
        allowed, narrowed = tuple(arm for arm in allowed if arm in wanted), True
        if not allowed:
            raise NotFound("The policy allows none of these models.", code="model_not_found", param="models")
    if not allowed:
        raise Unavailable("No model is known: name some in LLM_MODELS, or a DEFAULT_MODEL.", code="no_models")
    if policy is not None and policy.default is not None and not chat.models:
        return allowed, narrowed, catalogue.named(policy.default) or catalogue.default
    return allowed, narrowed, catalogue.default if not narrowed or catalogue.default in allowed else None


def _of_policy(catalogue: Catalogue, terms: DecisionTerms | None, policy: Policy) -> tuple[ArmId, ...]:
    try:
        return catalogue.narrow(policy.arms)
    except NotFound as error:
        param = None if terms is None else terms.own.policy_param
        raise Unavailable(f"The policy cannot be followed: {error}", code="no_models", param=param) from error


def _below_ceilings(
    found: Candidates, terms: DecisionTerms, chat: ChatRequest, catalogue: Catalogue, snapshot: Snapshot | None
) -> Candidates:
    """Return the candidates without arms above a ceiling of the caller. Raises InvalidRequest where none is left."""
    if terms.own.max_cost_usd is None and terms.own.max_latency_s is None:
        return found
    if found.pinned is not None:
        judged: tuple[ArmId, ...] = (found.pinned,)
    else:
        judged = tuple(dict.fromkeys((*found.allowed, *found.reserve, *_some(found.default))))
    excesses = ceilings.above(judged, terms.own, chat.requirements, catalogue, snapshot)
    above = {one.arm for one in excesses}
    if above and above.issuperset(judged):
        raise ceilings.refusal(excesses, terms.own)
    return replace(
        found,
        allowed=tuple(arm for arm in found.allowed if arm not in above),
        reserve=tuple(arm for arm in found.reserve if arm not in above),
        default=None if found.default in above else found.default,
        last_resort=None if found.last_resort in above else found.last_resort,
        unfit=(*found.unfit, *ceilings.unfit([one for one in excesses if one.arm in found.allowed])),
    )


def _some(arm: ArmId | None) -> tuple[ArmId, ...]:
    return () if arm is None else (arm,)
