"""Record of one decision: eligible arms, beliefs, draws and propensities."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from shared.bandit.arms import ArmId


class DecisionKind(StrEnum):
    """Evidence behind a choice; the value of the header `x-router-decision`."""

    LOCAL = "local"  # neighbours of this prompt moved the estimate
    GLOBAL = "global"  # the posteriors of all traffic alone
    DEFAULT = "default"  # DEFAULT_MODEL: nothing is known, or too little (SAFE_START)
    PINNED = "pinned"  # the client named the model
    CONTROL = "control"  # the control group's fixed model (CONTROL_SHARE)
    FALLBACK = "fallback"  # the chosen arm failed and a lower-ranked one answered


class Group(StrEnum):
    """Group of a conversation, where CONTROL_SHARE measures what routing gains (`control.py`)."""

    CONTROL = "control"
    ROUTED = "routed"


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the utility's terms at decision time. `cost` is negative: cheaper is better."""

    quality: float
    latency: float
    cost: float


@dataclass
class ArmView:
    """Belief of the policy about one eligible arm at decision time.

    Not frozen, which would cost four times as much to make, and without slots, with which orjson takes three times as
    long: every request makes and stores one for each arm.

    Attributes:
        quality: posterior mean of the score for this prompt, with the local shift where it was active, times the
            probability that the arm answers at all.
        quality_sd: posterior standard deviation of that mean.
        draw_sd: standard deviation that the draw used (exploration scale included).
        base_quality: the mean of an answer's score, without the local shift.
        local_shift: what the neighbours would add; logged even while the gate keeps it out.
        cost_usd, latency_s: expected cost and latency of the answer; None where nothing is known.
        cost_term, speed_term: scale-free terms in [0, 1]: cost over the dearest eligible arm's, and 1 minus the same
            for latency.
        utility: mean of the quantity whose draw is maximised.
        draw: the sampled utility.
        propensity: exact probability that this arm comes first.
        labels: recency-weighted number of ratings behind `quality`.
        rating_sd: standard deviation of a rating of this answer, as predicted; 0 where too little is known of the arm
            on such prompts for a surprise to be evidence of a change.
    """

    arm: ArmId
    quality: float
    quality_sd: float
    draw_sd: float
    base_quality: float
    local_shift: float
    cost_usd: float | None
    latency_s: float | None
    cost_term: float
    speed_term: float
    utility: float
    draw: float
    propensity: float
    labels: float
    rating_sd: float = 0.0


NeighbourUse = tuple[str, float, ArmId, float, float]
"""A neighbour and the weight it had, in the order of `NEIGHBOUR_FIELDS`. Plain: every request makes and stores up to
fifty, and with names in each of them that took twice as long, and a quarter of a record more room."""

NEIGHBOUR_FIELDS = ("request_id", "similarity", "arm", "score", "weight")


UnfitArm = tuple[ArmId, str, str]
"""An arm that was left out before the draw, the feature of the request that it lacks, and how that is known: `known`
from the upstream's list, `estimated` from the length of the prompt, `learned` from a refusal."""

UNFIT_FIELDS = ("arm", "feature", "basis")


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        kind: on what evidence.
        ranked: all eligible arms, best draw first; the first is called, the others are fallbacks in order.
        propensity: probability of `ranked[0]`; 1 for a pinned or default choice.
        confidence: posterior probability that `ranked[0]` is the best eligible arm.
        reason: for a person, in a few sentences.
        views: one per eligible arm, in the order of `ranked`; empty for pinned and default choices.
        neighbours: those considered, nearest first.
        searched: whether neighbours were searched for; None where they could not matter, and in older records.
        weights: as used.
        policy: name and version of the algorithm.
        snapshot: version of the learned state.
        cluster: (generation, kind) of the nearest kind of prompt, or None without context.
        degraded: what was missing, in bounded words (`embedder`, `qdrant`, `redis`).
        session: whether the conversation's model was kept instead of the draw (`steering.hold`).
        exploration: `on`; or why nothing was explored: `off` by the client's wish, `spent` with the day's budget.
        unfit: arms that were left out before the draw because they cannot serve the request.
        kind_size: requests that were assigned to that kind.
        kind_requests, kind_labels: requests and ratings of similar prompts (without context: of all), weighted by age.
        nearness: 1 where the prompt belongs to the nearest kind, below 1 where it is of a new kind.
        examples: ids of requests of the nearest kind, those most like its centre first.
        group: of the conversation; None without a control group, and where its model was not weighed.
        terms: the caller's own terms: name of the policy, `request`, or both joined by `+`; "" for the settings'.
    """

    kind: DecisionKind
    ranked: tuple[ArmId, ...]
    propensity: float
    confidence: float
    reason: str
    views: tuple[ArmView, ...] = ()
    neighbours: tuple[NeighbourUse, ...] = ()
    weights: Weights | None = None
    policy: str = ""
    snapshot: str = ""
    cluster: tuple[int, int] | None = None
    degraded: tuple[str, ...] = field(default=())
    session: bool = False
    exploration: str = "on"
    unfit: tuple[UnfitArm, ...] = ()
    kind_requests: float | None = None
    kind_labels: float | None = None
    nearness: float | None = None
    examples: tuple[str, ...] = ()
    kind_size: int | None = None
    terms: str = ""
    group: Group | None = None
    searched: bool | None = None

    @property
    def arm(self) -> ArmId:
        """The arm that was chosen."""
        return self.ranked[0]

    @property
    def explored(self) -> bool:
        """Whether a draw, and nothing else, put another arm first than the one that is expected to be best."""
        if self.propensity >= 1 or self.kind in (DecisionKind.DEFAULT, DecisionKind.CONTROL):
            return False
        view = self.view(self.arm)
        return view is not None and view.utility < max([one.utility for one in self.views])

    def view(self, arm: ArmId) -> ArmView | None:
        """Return what was believed of `arm`, or None if it was not weighed."""
        for view in self.views:
            if view.arm == arm:
                return view
        return None
