"""Ceilings of the caller: arms whose answer is expected to cost or to take more are out before the draw.

The expected cost is the list price of this prompt and of an answer of the arm's usual length, at most of the length
that the request allows; without a list price, what the arm's answers cost on the mean. The expected latency is that of
the arm's answers on the mean. An arm of which nothing is known stays in.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import Snapshot
from shared.bandit.arms import ArmId
from shared.bandit.decision import UnfitArm
from shared.bandit.posterior import known
from shared.bandit.reward import ASSUMED_COMPLETION_TOKENS
from shared.errors import InvalidRequest
from shared.schemas.requirements import Requirements
from shared.schemas.terms import Terms

COST, LATENCY = "max_cost_usd", "max_latency_s"
ESTIMATED = "estimated"
_CAUTION = 4 / 3
"""The cautious estimate of a prompt's tokens over the likely one: 3 bytes a token instead of 4."""


class Excess(Struct, frozen=True):
    """An arm above a ceiling: which one, and what is expected."""

    arm: ArmId
    ceiling: str
    expected: float


def above(
    arms: Sequence[ArmId], terms: Terms, needs: Requirements, catalogue: Catalogue, snapshot: Snapshot | None
) -> list[Excess]:
    """Return the arms that are above one of the caller's ceilings."""
    found = []
    for arm in arms:
        cost, latency = _expected(arm, needs, catalogue, snapshot)
        if terms.max_cost_usd is not None and cost is not None and cost > terms.max_cost_usd:
            found.append(Excess(arm, COST, cost))
        elif terms.max_latency_s is not None and latency is not None and latency > terms.max_latency_s:
            found.append(Excess(arm, LATENCY, latency))
    return found


def unfit(excesses: Sequence[Excess]) -> tuple[UnfitArm, ...]:
    """Return the rows of a decision about arms above a ceiling."""
    return tuple((one.arm, one.ceiling, ESTIMATED) for one in excesses)


def refusal(excesses: Sequence[Excess], terms: Terms) -> InvalidRequest:
    """Return the error for a request that no arm is expected to answer below its ceilings: it names the nearest."""
    nearest = min(excesses, key=lambda one: one.expected / getattr(terms, one.ceiling))
    unit = "USD" if nearest.ceiling == COST else "seconds"
    return InvalidRequest(
        f"No model is expected to answer within {getattr(terms, nearest.ceiling):g} {unit}. "
        f"The nearest is {nearest.arm}, with about {nearest.expected:.2g}. Raise the limit, or shorten the request.",
        code="no_model_within_limits",
        param=f"router.{nearest.ceiling}",
    )


def _expected(
    arm: ArmId, needs: Requirements, catalogue: Catalogue, snapshot: Snapshot | None
) -> tuple[float | None, float | None]:
    """Return the expected cost and latency of an answer to this request; None where nothing is known."""
    cost = latency = None
    completion = ASSUMED_COMPLETION_TOKENS
    if snapshot is not None and snapshot.knows(arm):
        posterior = snapshot.posterior
        column = posterior.index[arm]
        cost, latency = known(posterior.cost_usd[0, column]), known(posterior.latency_s[0, column])
        sums = posterior.sums[column]
        completion = sums.completion_tokens / sums.priced if sums.priced else completion
    price = catalogue.price(arm)
    if price is not None:
        completion = min(completion, needs.output_tokens or completion)
        cost = price.cost_usd(needs.prompt_tokens / _CAUTION, completion)
    return cost, latency
