"""Who answers: what the client allows, what the policy draws, and what may overrule the draw (`steering.py`)."""

from __future__ import annotations

from dataclasses import replace

from services.gateway.catalogue import Catalogue
from services.gateway.plan import ChatPorts
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind
from shared.bandit.steering import greedy, hold, overrule
from shared.errors import Unavailable
from shared.logs import get_logger
from shared.schemas.chat import ChatRequest
from shared.tracing import span
from shared.values import dataclass

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request leaves to the router: nothing (`pinned`), some arms (`narrowed`), or all."""

    pinned: ArmId | None
    allowed: tuple[ArmId, ...]
    narrowed: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision that is followed, and in shadow mode the one that is not."""

    decision: Decision
    shadow: Decision | None = None


def wish_of(chat: ChatRequest, catalogue: Catalogue) -> Wish:
    """Return what `chat` allows. Raises NotFound for an unknown model, and Unavailable where none is known."""
    pinned = None if chat.model is None else catalogue.pin(chat.model)
    allowed = catalogue.narrow(chat.models) if chat.models else catalogue.arm_ids
    if pinned is None and not allowed:
        raise Unavailable("No model is known: name some in LLM_MODELS, or a DEFAULT_MODEL.", code="no_models")
    return Wish(pinned, allowed, narrowed=bool(chat.models))


def choose(wish: Wish, context: Context, session_arm: ArmId | None, ports: ChatPorts, *, explore: bool) -> Choice:
    """Decide. `session_arm` answered last in this conversation; without `explore` the client wants no exploration."""
    if wish.pinned is not None:
        return Choice(_pin(wish.pinned))
    drawn = _draw(wish, context, ports)
    if not explore:
        drawn = greedy(drawn, "off")
    elif not ports.exploration.left:
        drawn = greedy(drawn, "spent")
    if ports.shadow_mode:
        return Choice(overrule(drawn, _safe_arm(wish, ports.catalogue)), shadow=drawn)
    return Choice(hold(drawn, session_arm, ports.session_margin))


def _safe_arm(wish: Wish, catalogue: Catalogue) -> ArmId:
    """Return DEFAULT_MODEL, or the first arm where the client rules it out or the upstream does not know it."""
    default = catalogue.default
    usable = default is not None and (not wish.narrowed or default in wish.allowed)
    return default if default is not None and usable else wish.allowed[0]


def _draw(wish: Wish, context: Context, ports: ChatPorts) -> Decision:
    snapshot = ports.posteriors.snapshot
    default = None if wish.narrowed else ports.catalogue.default
    if snapshot is None:
        return _default(default, wish.allowed, "nothing has been read of what was learned")
    eligible = tuple(arm for arm in ports.cooldowns.warm(wish.allowed) if snapshot.knows(arm))
    if not eligible:
        return _default(default, wish.allowed, "the models are newer than the learned state")
    try:
        with ports.metrics.decide.time(), span("decide"):
            return snapshot.decide(context, eligible, ports.rng)
    except Exception:  # noqa: BLE001 - fail open: no learned state, however odd, may cost an answer
        _log.exception("the policy broke", arms=len(eligible), snapshot=snapshot.version)
        return replace(_default(default, wish.allowed, "the policy could not decide"), degraded=("policy",))


def _pin(arm: ArmId) -> Decision:
    return Decision(DecisionKind.PINNED, (arm,), propensity=1.0, confidence=1.0, reason="the client named the model")


def _default(default: ArmId | None, allowed: tuple[ArmId, ...], reason: str) -> Decision:
    first = (default,) if default is not None else ()
    ranked = tuple(dict.fromkeys((*first, *allowed)))
    return Decision(DecisionKind.DEFAULT, ranked, propensity=1.0, confidence=0.0, reason=reason)
