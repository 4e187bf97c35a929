"""Selector: chooses the arms for a chat request: what the client allows, what fits, and what the policy draws.

`eligibility.py` says which arms can serve the request; `shared/bandit/steering.py` what may overrule a draw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct

from services.gateway.chat.candidates import Candidates, find_candidates
from services.gateway.chat.context import ContextGatherer, Gathered
from services.gateway.chat.conversations import NO_CONVERSATION, Conversation, Conversations
from services.gateway.chat.eligibility import LEARNED, left_out
from services.gateway.chat.fallback import call_order
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import largest_answer
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId, Price
from shared.bandit.context import Context
from shared.bandit.control import assigned, control_arm, group_of
from shared.bandit.decision import Decision, DecisionKind
from shared.bandit.local import searches
from shared.bandit.steering import greedy, hold, keep, overrule
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.models_file import Policy
from shared.ports import Clock
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.chat import ChatRequest
from shared.schemas.requirements import TOOL_HISTORY
from shared.schemas.tool_loops import awaited_keys
from shared.tracing import span

_log = get_logger(__name__)
T = TypeVar("T")
S = TypeVar("S")


class Choice(Struct, frozen=True, eq=False):
    """The arms to call, in order, with the decision behind it; in shadow mode `shadow` is the one not followed."""

    decision: Decision
    gathered: Gathered
    order: tuple[ArmId, ...]
    shadow: Decision | None = None
    conversation: Conversation = NO_CONVERSATION


@dataclass(eq=False, repr=False)
class Selector:
    """Chooses arms. It calls no model, reserves nothing, and records nothing."""

    _: KW_ONLY
    catalogue: Catalogue
    policies: Callable[[], Mapping[str, Policy]]
    posteriors: PosteriorCache
    context_gatherer: ContextGatherer
    conversations: Conversations
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    exploration: ExplorationBudget
    clock: Clock
    metrics: GatewayMetrics
    rng: np.random.Generator
    request_timeout_s: float
    session_margin: float
    min_confidence: float
    shadow_mode: bool
    control_share: float = 0.0

    def candidates(self, chat: ChatRequest) -> Candidates:
        """Return the arms that may answer; see `find_candidates`."""
        return find_candidates(chat, self.catalogue, self.learned_limits, self.policies(), self.posteriors.snapshot)

    def prices(self, candidates: Candidates) -> Iterator[Price | None]:
        """Return the list prices of the arms that may answer."""
        if candidates.pinned is not None:
            return iter((self.catalogue.price(candidates.pinned),))
        last_resort = () if candidates.default is None else (candidates.default,)
        arms = (*candidates.allowed, *candidates.reserve, *last_resort)
        return (self.catalogue.price(arm) for arm in arms)

    def answer_limits(self, chat: ChatRequest, arms: Iterable[ArmId]) -> dict[ArmId, int]:
        """Return the largest answer of each arm that supports less than `chat` allows, by its listed limits."""
        wanted, prompt = largest_answer(chat.body) or 0, chat.requirements.prompt_tokens
        limits: dict[ArmId, int] = {}
        for arm in map(self.catalogue.arm, arms):
            left = None if arm.context_tokens is None else max(1, arm.context_tokens - prompt)
            limit = min([one for one in (arm.max_output_tokens, left) if one is not None], default=wanted)
            if limit < wanted:
                limits[arm.id] = limit
        return limits

    async def choose(self, request: RequestContext, chat: ChatRequest, candidates: Candidates) -> Choice:
        """Gather context and decide. A dependency that fails costs context, never the answer."""
        gathering = self.context_gatherer.gather(
            chat.routing_text,
            chat.traits,
            with_neighbours=candidates.pinned is None and self._searches(),
            deadline=request.body_read_at + self.request_timeout_s,
        )
        conversation, calls = NO_CONVERSATION, awaited_keys(chat.body)
        free = candidates.pinned is None and not self.shadow_mode
        if not free or (request.session is None and not calls):  # nothing to look up: two tasks less
            gathered = await gathering
        else:
            gathered, conversation = await _both(gathering, self.conversations.find(request, calls))
        decision, shadow = self._decide(candidates, gathered.context, conversation, explore=request.explore)
        if self.control_share and free and request.explore:
            decision = self._assigned(decision, request, conversation, candidates)
        degraded = (*decision.degraded, *gathered.degraded)
        if conversation.missed or (self.posteriors.stale and candidates.pinned is None):
            degraded = (*degraded, "redis")
        if degraded != decision.degraded:
            decision = replace(decision, degraded=degraded)
        # In shadow mode the safe arm alone answers, and a client that narrows the choice wants no other arm.
        last_resort = None if self.shadow_mode else candidates.last_resort
        others = () if self.shadow_mode else (*candidates.allowed, *candidates.reserve)
        private = self.catalogue.is_private if self.catalogue.has_private else None
        order = call_order(decision, self.circuit_breakers, last_resort, others, private=private)
        return Choice(decision, gathered, order, shadow, conversation)

    def _searches(self) -> bool:
        """Return whether the request searches for neighbours: without a snapshot they could not matter."""
        snapshot = self.posteriors.snapshot
        return snapshot is not None and searches(snapshot.posterior.search_share, self.rng)

    def _decide(
        self, candidates: Candidates, context: Context, conversation: Conversation, *, explore: bool
    ) -> tuple[Decision, Decision | None]:
        """Return the decision, and in shadow mode the one that is not followed."""
        if candidates.pinned is not None:
            return pin(candidates.pinned), None
        drawn, terms = self._draw(candidates, context), candidates.terms
        if not explore or (terms is not None and not terms.explores):
            drawn = greedy(drawn, "off", candidates.default, self.min_confidence)
        elif not self.exploration.left:
            drawn = greedy(drawn, "spent", candidates.default, self.min_confidence)
        if self.shadow_mode:
            followed = overrule(drawn, _safe_arm(candidates))
            return _explained(followed, candidates), _explained(drawn, candidates)
        return _explained(self._held(drawn, conversation, candidates), candidates), None

    def _held(self, drawn: Decision, conversation: Conversation, candidates: Candidates) -> Decision:
        """Keep a conversation with its arm: within a tool loop while the arm can serve it, else within the margin."""
        arm = conversation.arm
        if not conversation.tool_step or arm is None:
            terms = candidates.terms
            margin = None if terms is None else terms.policy.session_margin
            price = None if arm is None else self.catalogue.price(arm)
            saved_usd = conversation.saved_usd(price, self.clock.now())
            return hold(drawn, arm, self.session_margin if margin is None else margin, saved_usd)
        able = arm in candidates.allowed or arm in candidates.reserve or arm == candidates.default
        # The arm may have refused the tool calls of other models: these are its own.
        able = able or (arm, TOOL_HISTORY, LEARNED) in candidates.unfit
        return keep(drawn, arm) if able and not self.circuit_breakers.cooldown_s(arm) else drawn

    def _assigned(
        self, decision: Decision, request: RequestContext, conversation: Conversation, candidates: Candidates
    ) -> Decision:
        """Assign the request's conversation to a group; a request without a session is one of its own."""
        snapshot = self.posteriors.snapshot
        default = candidates.default if candidates.default in candidates.allowed else None
        arm = None if snapshot is None else control_arm(decision, default, snapshot.best_first)
        if arm is None or (conversation.tool_step and request.session is None):
            return decision
        group = group_of(f"{request.owner}\0{request.session or request.own_id}", self.control_share)
        if conversation.tool_step:  # the arm that made the call goes on
            return replace(decision, group=group)
        return assigned(decision, group, arm, self.control_share)

    def _draw(self, candidates: Candidates, context: Context) -> Decision:
        snapshot, allowed = self.posteriors.snapshot, candidates.allowed
        default = candidates.last_resort
        if snapshot is None:
            return _default(default, allowed, "Nothing has been read of what was learned.")
        if not allowed:
            return _default(candidates.default, (), "No other model can serve the request.")
        known = tuple(arm for arm in self.circuit_breakers.available(allowed) if snapshot.knows(arm))
        if not known:
            return _default(default, allowed, "The models are newer than the learned state.")
        try:
            with self.metrics.decide.time(), span("decide"):
                return snapshot.decide(context, known, self.rng, candidates.terms, candidates.default)
        except Exception:  # noqa: BLE001 - fail open: a fault in the policy must not cost an answer
            _log.exception("the policy broke", arms=len(known), snapshot=snapshot.version)
            return replace(_default(default, allowed, "The policy could not decide."), degraded=("policy",))


def _explained(decision: Decision, candidates: Candidates) -> Decision:
    """Return the decision with the caller's terms, and the arms that could not serve the request."""
    if candidates.terms is not None:
        decision = replace(decision, terms=candidates.terms.name)
    if not candidates.unfit:
        return decision
    reason = f"{decision.reason} {left_out(candidates.unfit)}"
    return replace(decision, unfit=candidates.unfit, reason=reason)


def _safe_arm(candidates: Candidates) -> ArmId:
    """Return DEFAULT_MODEL, or the first arm where it may not answer or the upstream does not list it."""
    return candidates.allowed[0] if candidates.default is None else candidates.default


def pin(arm: ArmId) -> Decision:
    """Return the decision of a request that names its model."""
    return Decision(DecisionKind.PINNED, (arm,), propensity=1.0, confidence=1.0, reason="The client named the model.")


def _default(default: ArmId | None, allowed: tuple[ArmId, ...], reason: str) -> Decision:
    first = (default,) if default is not None else ()
    ranked = tuple(dict.fromkeys((*first, *allowed)))
    return Decision(DecisionKind.DEFAULT, ranked, propensity=1.0, confidence=0.0, reason=reason)


async def _both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """Await both concurrently; where one fails, the other is cancelled."""
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(one), group.create_task(other)
    return first.result(), second.result()
