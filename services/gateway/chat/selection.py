"""Who answers: what the client allows, who can serve it (`eligibility.py`), what the policy draws.

What may overrule a draw is in `shared/bandit/steering.py`.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import Struct

from services.gateway.chat.eligibility import LEARNED, eligible, left_out, refusal
from services.gateway.chat.plan import ChatPorts
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind, UnfitArm
from shared.bandit.steering import greedy, hold, keep, overrule
from shared.errors import Unavailable
from shared.logs import get_logger
from shared.schemas.chat import ChatRequest
from shared.schemas.requirements import TOOL_HISTORY
from shared.tracing import span

_log = get_logger(__name__)


class Wish(Struct, frozen=True):
    """What a request leaves to the router: nothing (`pinned`), some arms (`narrowed`), or all.

    Attributes:
        allowed: the arms to draw from; empty where `default` alone can serve the request.
        reserve: arms that may be able to serve it, asked only when others fail.
        default: DEFAULT_MODEL, where the client allows it and it can serve the request.
        unfit: arms that the client allows and that are left out of the draw.
    """

    pinned: ArmId | None
    allowed: tuple[ArmId, ...]
    narrowed: bool
    reserve: tuple[ArmId, ...] = ()
    default: ArmId | None = None
    unfit: tuple[UnfitArm, ...] = ()


class Choice(Struct, frozen=True):
    """The decision that is followed, and in shadow mode the one that is not."""

    decision: Decision
    shadow: Decision | None = None


def wish_of(chat: ChatRequest, ports: ChatPorts) -> Wish:
    """Return what `chat` allows and can be served by.

    Raises NotFound for an unknown model, Unavailable where none is known, and InvalidRequest where none that it allows
    can serve it. A pinned model is not judged: the upstream says whether it can.
    """
    catalogue, narrowed = ports.catalogue, bool(chat.models)
    pinned = None if chat.model is None else catalogue.pin(chat.model)
    allowed = catalogue.narrow(chat.models) if narrowed else catalogue.arm_ids
    if pinned is not None:
        return Wish(pinned, allowed, narrowed)
    if not allowed:
        raise Unavailable("No model is known: name some in LLM_MODELS, or a DEFAULT_MODEL.", code="no_models")
    # Who narrows the choice wants no other arm; DEFAULT_MODEL may be among those that are allowed.
    default = catalogue.default if not narrowed or catalogue.default in allowed else None
    found = eligible(allowed, default, chat.requirements, catalogue, ports.learned_limits)
    if not found.arms and found.default is None:
        everybody = dict.fromkeys((*allowed, *(() if default is None else (default,))))
        raise refusal(tuple(everybody), chat.requirements, catalogue, chat.body)
    return Wish(None, found.arms, narrowed, found.reserve, found.default, found.unfit)


class Conversation(Struct, frozen=True):
    """Who has a conversation.

    Attributes:
        arm: who answered last in it, or made the tool call; None where that is not known.
        tool_step: whether the request brings the result of a tool call that `arm` made.
        missed: whether Redis could not say.
    """

    arm: ArmId | None = None
    tool_step: bool = False
    missed: bool = False


def choose(wish: Wish, context: Context, conversation: Conversation, ports: ChatPorts, *, explore: bool) -> Choice:
    """Decide; without `explore` the client wants no exploration."""
    if wish.pinned is not None:
        return Choice(_pin(wish.pinned))
    drawn = _draw(wish, context, ports)
    if not explore:
        drawn = greedy(drawn, "off")
    elif not ports.exploration.left:
        drawn = greedy(drawn, "spent")
    if ports.shadow_mode:
        return Choice(_explained(overrule(drawn, _safe_arm(wish)), wish), shadow=_explained(drawn, wish))
    return Choice(_explained(_held(drawn, conversation, wish, ports), wish))


def _held(drawn: Decision, conversation: Conversation, wish: Wish, ports: ChatPorts) -> Decision:
    """Keep a conversation with its arm: within a tool loop always while it can serve it, else within the margin."""
    arm = conversation.arm
    if not conversation.tool_step or arm is None:
        return hold(drawn, arm, ports.session_margin)
    able = arm in wish.allowed or arm in wish.reserve or arm == wish.default
    # It may have refused the tool calls of other models: these are its own.
    able = able or (arm, TOOL_HISTORY, LEARNED) in wish.unfit
    return keep(drawn, arm) if able and not ports.cooldowns.rests_s(arm) else drawn


def _explained(decision: Decision, wish: Wish) -> Decision:
    """Return the decision with the arms that could not serve the request."""
    if not wish.unfit:
        return decision
    return replace(decision, unfit=wish.unfit, reason=f"{decision.reason} {left_out(wish.unfit)}")


def _safe_arm(wish: Wish) -> ArmId:
    """Return DEFAULT_MODEL, or the first arm where it may not answer or the upstream does not know it."""
    return wish.allowed[0] if wish.default is None else wish.default


def _draw(wish: Wish, context: Context, ports: ChatPorts) -> Decision:
    snapshot = ports.posteriors.snapshot
    default = None if wish.narrowed else wish.default
    if snapshot is None:
        return _default(default, wish.allowed, "Nothing has been read of what was learned.")
    if not wish.allowed:
        return _default(wish.default, (), "No other model can serve the request.")
    known = tuple(arm for arm in ports.cooldowns.warm(wish.allowed) if snapshot.knows(arm))
    if not known:
        return _default(default, wish.allowed, "The models are newer than the learned state.")
    try:
        with ports.metrics.decide.time(), span("decide"):
            return snapshot.decide(context, known, ports.rng)
    except Exception:  # noqa: BLE001 - fail open: no learned state, however odd, may cost an answer
        _log.exception("the policy broke", arms=len(known), snapshot=snapshot.version)
        return replace(_default(default, wish.allowed, "The policy could not decide."), degraded=("policy",))


def _pin(arm: ArmId) -> Decision:
    return Decision(DecisionKind.PINNED, (arm,), propensity=1.0, confidence=1.0, reason="The client named the model.")


def _default(default: ArmId | None, allowed: tuple[ArmId, ...], reason: str) -> Decision:
    first = (default,) if default is not None else ()
    ranked = tuple(dict.fromkeys((*first, *allowed)))
    return Decision(DecisionKind.DEFAULT, ranked, propensity=1.0, confidence=0.0, reason=reason)
