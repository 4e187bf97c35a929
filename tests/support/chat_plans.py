"""Plans of chat requests without a gateway, for tests of what is computed from them."""

from __future__ import annotations

from typing import Any

from services.gateway.chat.context import Gathered
from services.gateway.chat.plan import ChatPlan
from shared.bandit.decision import Decision, DecisionKind
from tests.support.fakes.gateway import chat, new_request

CHOSEN, SECOND = "a/small", "b/middle"
NOW = 1_795_000_000.25
DECISION = Decision(DecisionKind.GLOBAL, (CHOSEN, SECOND), 0.5, 0.75, "for a test")


def a_plan(**changes: Any) -> ChatPlan:
    """Return a plan of two arms, whose body was read at the instant 100.0."""
    values: dict[str, Any] = {
        "chat": chat(),
        "request": new_request(started=100.0),
        "decision": DECISION,
        "gathered": Gathered(),
        "order": DECISION.ranked,
        "created_at": NOW,
        "deadline": 160.0,
        **changes,
    }
    return ChatPlan(**values)
