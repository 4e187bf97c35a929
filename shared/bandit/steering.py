"""Overrides of a draw: no exploration, session affinity, tool loops, shadow mode.

Each takes the decision that the policy drew and returns the one that is followed. Whether it overrules depends on
what is believed, never on the draw, so that the probability of the arm that it puts first is exactly 1, and 0 for any
other; where it does not overrule, the policy's own probabilities hold as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shared.bandit import reasons
from shared.bandit.arms import ArmId
from shared.bandit.decision import ArmView, Decision, DecisionKind
from shared.bandit.propensity import chance_of_best


def greedy(decision: Decision, why: str, default: ArmId | None = None, min_confidence: float = 0.0) -> Decision:
    """Return the choice without exploration: arms by expected utility, ties by name. `why` is kept with it.

    `default`, if it was weighed, comes first where even the best arm is so with a probability below `min_confidence`.
    """
    if not decision.views:
        return decision
    by_utility = sorted(decision.views, key=lambda view: (-view.utility, view.arm))
    followed = _order(decision, (view.arm for view in by_utility))
    reason = reasons.unexplored(followed, _WHY.get(why, why))
    if default in followed.ranked and followed.confidence < min_confidence:
        safe = _order(followed, (default, *(arm for arm in followed.ranked if arm != default)))
        reason = f"{default} is the default model, and no model is certain enough to be the best. {reason}"
        return replace(safe, kind=DecisionKind.DEFAULT, exploration=why, reason=reason)
    return replace(followed, exploration=why, reason=reason)


def hold(decision: Decision, arm: ArmId | None, margin: float, saved_usd: float = 0.0) -> Decision:
    """Keep a conversation with `arm` while its expected utility is within `margin` of the best eligible arm's.

    `saved_usd` is what its prompt cache saves, which counts as a lower cost. An arm that was not weighed (cooling, not
    allowed, unknown) cannot be held: the decision stays as it was drawn.
    """
    view = None if arm is None else decision.view(arm)
    if view is None:
        return decision
    lacks = max(other.utility for other in decision.views) - margin - view.utility
    if lacks > 0.0 and (not saved_usd or lacks > _worth(saved_usd, view, decision)):
        return decision
    kept = _order(decision, (view.arm, *(other for other in decision.ranked if other != view.arm)))
    why = ", with what its prompt cache saves" if lacks > 0.0 else ""
    reason = f"{arm} has the conversation, and is within {margin:g} of the best{why}."
    return replace(kept, session=True, reason=reason)


def _worth(saved_usd: float, view: ArmView, decision: Decision) -> float:
    """Return the utility of a lower cost: as a share of the dearest eligible arm's, at most the arm's whole cost."""
    dearest = max((other.cost_usd for other in decision.views if other.cost_usd is not None), default=0.0)
    if decision.weights is None or not dearest:
        return 0.0
    return -decision.weights.cost * min(saved_usd / dearest, view.cost_term)


def keep(decision: Decision, arm: ArmId) -> Decision:
    """Keep a tool loop with `arm`, which made the call whose result the request brings, whatever is believed of it."""
    reason = f"{arm} made the tool call whose result this is."
    kept = _order(decision, (arm, *(other for other in decision.ranked if other != arm)))
    if decision.view(arm) is None:  # not weighed, so nothing that was believed belongs to this choice
        kept = replace(kept, kind=DecisionKind.DEFAULT, views=(), neighbours=(), confidence=0.0)
    return replace(kept, session=True, reason=reason)


def overrule(decision: Decision, arm: ArmId) -> Decision:
    """Return what shadow mode does instead of `decision`: `arm` alone answers, with what was believed of it."""
    served = _order(decision, (arm,))
    # Neighbours and confidence belong to the choice that was not followed; it is kept beside this one.
    reason = f"{arm} answers everything in shadow mode."
    return replace(served, kind=DecisionKind.DEFAULT, neighbours=(), confidence=0.0, reason=reason)


_WHY = {"off": "the client asked for that", "spent": "the day's budget is spent"}


def _order(decision: Decision, arms: Iterable[ArmId]) -> Decision:
    """Rank as given, for certain."""
    ranked = tuple(arms)
    found = [view for arm in ranked if (view := decision.view(arm)) is not None]
    views = tuple(replace(view, propensity=float(view.arm == ranked[0])) for view in found)
    confidence = decision.confidence
    if views and decision.weights is not None and views[0].arm == ranked[0]:
        sds = [decision.weights.quality * view.quality_sd for view in views]
        confidence = chance_of_best([view.utility for view in views], sds, 0)
    return replace(decision, ranked=ranked, propensity=1.0, confidence=confidence, views=views)
