"""Control group: a share of conversations that a fixed model serves, to measure what routing gains.

A conversation belongs to the control group by a hash of its name, so that all its requests do. For one request that is
a draw with probability s (CONTROL_SHARE), made before anything is known of it. With p_a the probability that routing
gives arm a, the arm of the control group being c, an arm is chosen with the exact propensity

    (1 - s) p_a + s [a = c]

so that requests of both groups are evidence for any other policy, and are learned from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind, Group


def group_of(conversation: str, share: float) -> Group:
    """Return the group of a conversation. A larger share keeps those that were in the control group in it."""
    digest = hashlib.blake2b(conversation.encode("utf-8", "surrogatepass"), digest_size=8, person=b"control")
    place = int.from_bytes(digest.digest()) / 2**64
    return Group.CONTROL if place < share else Group.ROUTED


def control_arm(decision: Decision, default: ArmId | None, best_first: Sequence[ArmId]) -> ArmId | None:
    """Return the arm of the control group: `default`, or without one the best fixed arm; None if it was not weighed."""
    fixed = best_first if default is None else (default,)
    return next((arm for arm in fixed if decision.view(arm) is not None), None)


def assigned(decision: Decision, group: Group, arm: ArmId, share: float) -> Decision:
    """Return the decision for a request of `group`, with exact propensities. `arm` serves the control group."""
    propensities = {
        view.arm: (1 - share) * view.propensity + (share if view.arm == arm else 0.0) for view in decision.views
    }
    views = tuple(replace(view, propensity=propensities[view.arm]) for view in decision.views)
    if group is Group.ROUTED:
        return replace(decision, group=group, views=views, propensity=propensities[decision.arm])
    ranked = (arm, *(other for other in decision.ranked if other != arm))
    return replace(
        decision,
        kind=DecisionKind.CONTROL,
        group=group,
        ranked=ranked,
        views=tuple(sorted(views, key=lambda view: ranked.index(view.arm))),
        propensity=propensities[arm],
        session=False,
        neighbours=(),
        confidence=0.0,
        reason=f"{arm} serves this conversation in the control group, which measures what routing gains.",
    )
