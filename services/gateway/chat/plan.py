"""Chat plan: a chat request with its decision, the arms to call in order, and what its record will say."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from services.gateway.chat.context import Gathered
from services.gateway.evaluation.evaluations import RequestEvaluation
from services.gateway.limits.quotas import largest_answer
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision
from shared.schemas.chat import ChatRequest
from shared.schemas.quota import Charge
from shared.schemas.upstream import Call

UNBOUNDED_TOKENS = 65_536
"""Upstreams ask for credit for a model's longest answer where the request sets no bound."""


class ChatPlan(Struct, frozen=True, eq=False):
    """A routed chat request.

    Attributes:
        order: the arms to call until one answers.
        created_at: Unix seconds, for the record.
        deadline: the `Clock.monotonic` instant at which the request is given up.
        repeats: the arm whose answer to the same prompt was the last in the conversation, a moment ago; None for none.
        shadow: in shadow mode, the decision that is not followed.
        evaluation: the draw of its evaluation; None without one.
        answer_limits: largest answers of arms that support less than the request allows.
        charge: what was taken from the key's quota; `charged_in_redis` says where.
    """

    chat: ChatRequest
    request: RequestContext
    decision: Decision
    gathered: Gathered
    order: tuple[ArmId, ...]
    created_at: float
    deadline: float
    repeats: ArmId | None = None
    shadow: Decision | None = None
    charge: Charge | None = None
    charged_in_redis: bool = False
    evaluation: RequestEvaluation | None = None
    answer_limits: Mapping[ArmId, int] = {}

    @property
    def names_model(self) -> bool:
        """Whether the client itself left one model only."""
        return self.chat.model is not None or (bool(self.chat.models) and len(set(self.order)) == 1)

    def asked_tokens(self) -> int:
        """Return the tokens that the request asks for, prompt and answer; an unbounded answer counts as a long one."""
        return self.chat.requirements.prompt_tokens + (largest_answer(self.chat.body) or UNBOUNDED_TOKENS)

    def call(self, arm: ArmId) -> Call:
        """Return the upstream call of `arm`."""
        limit = self.answer_limits.get(arm)
        return Call(
            arm=arm,
            body=self.chat.body if limit is None else {**self.chat.body, "max_completion_tokens": limit},
            request_id=self.request.own_id,
            deadline=self.deadline,
            headers=self.request.control,
            requirements=self.chat.requirements,
            include_usage=self.chat.include_usage,
            native=self.chat.native if limit is None or self.chat.native is None else self.chat.native.limited(limit),
        )
