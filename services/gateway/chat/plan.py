"""What one chat request carries through the use case: the ports, who asks, and what was decided."""

from __future__ import annotations

import asyncio

import numpy as np
from msgspec import Struct, field

from services.gateway.chat.context import ContextGatherer, Gathered
from services.gateway.limits.circuit_breakers import CircuitBreakers
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import Quotas
from services.gateway.limits.retry_budget import RetryBudget
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels, SharedFreeArms
from services.gateway.process.gossip import Gossip
from services.gateway.records.record_writer import RecordWriter
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision
from shared.metrics import GatewayMetrics
from shared.ports import ChatModel, Clock, RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.supervision import Supervisor
from shared.schemas.chat import ChatRequest
from shared.schemas.quota import Charge
from shared.schemas.upstream import Call


class ChatPorts(Struct, frozen=True, eq=False):
    """What the use case needs of the world."""

    log: RequestLog
    recorder: RecordWriter
    notices: Gossip
    gatherer: ContextGatherer
    posteriors: PosteriorCache
    catalogue: Catalogue
    arm_list: RuntimeModels
    free_arms: SharedFreeArms
    upstream: ChatModel
    cooldowns: CircuitBreakers
    learned_limits: LearnedLimits
    reserving: CircuitBreaker
    clock: Clock
    metrics: GatewayMetrics
    supervisor: Supervisor
    rng: np.random.Generator
    redis_timeout_s: float
    request_timeout_s: float
    exploration: ExplorationBudget
    session_margin: float
    shadow_mode: bool
    settings_hash: str
    prompt_chars: int
    quotas: Quotas
    retries: RetryBudget
    retry_ambiguous: bool
    returning: set[asyncio.Task[None]] = field(default_factory=set)
    """Claims that are being given back."""


class Plan(Struct, frozen=True, eq=False):
    """A decided request: who is asked, in which order, and all that its record will say."""

    chat: ChatRequest
    request: RequestContext
    decision: Decision
    gathered: Gathered
    order: tuple[ArmId, ...]
    created_at: float
    deadline: float
    shadow: Decision | None = None
    charge: Charge | None = None
    charged_in_redis: bool = False

    def call(self, arm: ArmId) -> Call:
        """Return the call of `arm`."""
        return Call(
            arm=arm,
            body=self.chat.body,
            request_id=self.request.own_id,
            deadline=self.deadline,
            headers=self.request.control,
            requirements=self.chat.requirements,
        )
