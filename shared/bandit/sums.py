"""Sufficient statistics: integer sums that commute, so that order, replay and rebuild cannot change them.

One hash in Redis holds the sums of one arm and one day. A request contributes twice: when it was answered (`outcome`:
cost, latency, failure) and when it is rated (`feedback`). Each contribution is a mapping of field to integer; a revised
rating first subtracts the old one. Units are in the names: `score_micro` is a sum of scores times 1e6.

Where there is a control group (`control.py`), the requests of each group have fields of their own, `lift_…:<group>`.

Scores of another source than users (`sources.py`) have fields of their own, `score_micro:<source>`; their number is
weighted, hence in thousandths: `labels_milli:<source>`.

Fields may be followed by `@<generation>.<kind>`: the same sum restricted to requests of that kind of prompt
(`kinds.py`); by `~<block>`: restricted to requests decided when the arm had so many ratings (`change.py` looks for
breaks there); or by both.

A request may have been tried on several arms. Its contribution stays one flat mapping: a field that belongs to another
arm than the one that answered is written `<field>|<arm>`, and `by_arm` takes them apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.bandit.arms import ArmId
from shared.bandit.decision import Group
from shared.bandit.kinds import KindId, Kinds
from shared.bandit.sources import Source

MICRO = 1_000_000
NANO = 1_000_000_000

LABELS = "labels"
SCORE = "score_micro"
SCORE_SQ = "score_sq_micro"
GAIN = "local_gain_micro"
GAIN_SQ = "local_gain_sq_micro"
SURPRISE = "surprise_micro"
SURPRISES = "surprises"
RESIDUAL = "residual_micro"
"""Written until 2026: the residual in units of the score, of every rating; read as a surprise of `_OLD_NOISE_SD`."""
LABELS_MILLI = "labels_milli"
"""Number of scores of another source, times their weight."""
REQUESTS = "requests"
SHADOWS = "shadows"
UNPRICED = "unpriced"
FAILURES = "failures"
COST = "cost_nanousd"
LATENCY = "latency_us"
PROMPT_TOKENS = "prompt_tokens"
COMPLETION_TOKENS = "completion_tokens"
EVALUATION = "evaluation_nanousd"

LIFT_REQUESTS = "lift_requests"
LIFT_LABELS = "lift_labels"
LIFT_SCORE = "lift_score_micro"
LIFT_SCORE_SQ = "lift_score_sq_micro"
LIFT_JUDGED = {group: f"lift_judged_{group}" for group in Group}
LIFT_JUDGED_SCORE = {group: f"lift_judged_{group}_micro" for group in Group}
LIFT_JUDGED_SCORE_SQ = {group: f"lift_judged_{group}_sq_micro" for group in Group}
"""Of a judge: with the group in their names and the source behind it, so that one source can be taken out alone."""
LIFT_COST = "lift_cost_nanousd"
LIFT_TERMS = "lift_terms_micro"
LIFT_TERMS_SQ = "lift_terms_sq_micro"
LARGEST_TERMS = 20
"""Most that one answer's cost and time can add to, or take from, the utility of its group."""

IntSums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """Recency-weighted sums of one arm (or of one kind of its prompts), in natural units.

    Attributes:
        labels: number of ratings.
        score: sum of ratings.
        score_sq: sum of squared ratings.
        gain: sum over ratings of how much better the local estimate predicted than the global one (squared error).
        gain_sq: sum of the squares of those gains.
        requests: number of answered requests.
        shadows: number of answers beside the user's path, which no user was served.
        unpriced: answers of both sorts of unknown cost; their cost and tokens are not in the sums below.
        failures: number of failed calls.
        cost_usd, latency_s, prompt_tokens, completion_tokens: sums over answers of both sorts.
        evaluation_usd: cost of evaluations of requests that the arm has served: other answers, and the judge.
    """

    labels: float = 0.0
    score: float = 0.0
    score_sq: float = 0.0
    gain: float = 0.0
    gain_sq: float = 0.0
    requests: float = 0.0
    shadows: float = 0.0
    unpriced: float = 0.0
    failures: float = 0.0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    evaluation_usd: float = 0.0

    @property
    def answers(self) -> float:
        """Number of answers, served or not: the denominator of a mean latency."""
        return self.requests + self.shadows

    @property
    def priced(self) -> float:
        """Number of answers with a known cost: the denominator of a mean cost."""
        return max(self.answers - self.unpriced, 0.0)


@dataclass(frozen=True, slots=True)
class Scores:
    """Recency-weighted scores of one source: their weighted number, sum, and sum of squares (of all prompts only)."""

    labels: float = 0.0
    score: float = 0.0
    score_sq: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceSums:
    """Scores that one source other than users has given an arm: in total, and by kind of prompt."""

    total: Scores = field(default_factory=Scores)
    kinds: Mapping[KindId, Scores] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Recency-weighted sums of the requests of one group, control or routed.

    Attributes:
        requests: number of answers of known cost.
        labels, score, score_sq: ratings by users, their sum and that of their squares.
        judged, judged_score, judged_score_sq: the same of a judge's scores of these answers.
        cost_usd: of these answers.
        terms, terms_sq: the utility of these answers without quality, as they turned out, and the sum of its squares.
    """

    requests: float = 0.0
    labels: float = 0.0
    score: float = 0.0
    score_sq: float = 0.0
    judged: float = 0.0
    judged_score: float = 0.0
    judged_score_sq: float = 0.0
    cost_usd: float = 0.0
    terms: float = 0.0
    terms_sq: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """Successive ratings of one arm within a day, as counted; `weight` is what recency leaves of each.

    `score` is their sum. `surprises` of them could be predicted well enough to be a test of the prediction; `surprise`
    is the sum, over these, of (score - prediction) / sd of the prediction. `number` orders the blocks of a day.
    """

    weight: float
    labels: float
    score: float
    surprise: float
    surprises: float
    number: int = 0


@dataclass(frozen=True, slots=True)
class ArmSums:
    """All sums of one arm.

    Its totals; by (generation, kind) the same restricted to a kind of prompt; its rated decisions in blocks, oldest
    first, over all prompts and by kind; the scores of sources other than users; and its requests by group.
    """

    total: Sums = field(default_factory=Sums)
    kinds: Mapping[KindId, Sums] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    kind_blocks: Mapping[KindId, tuple[Block, ...]] = field(default_factory=dict)
    sources: Mapping[Source, SourceSums] = field(default_factory=dict)
    groups: Mapping[Group, GroupSums] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedState:
    """Learned state as gateways read it: `version` changes whenever any sum does."""

    version: str
    arms: Mapping[ArmId, ArmSums]
    kinds: Kinds | None = None


NOTHING_LEARNED = LearnedState(version="0", arms={})


def by_arm(arm: ArmId, contribution: Mapping[str, int]) -> dict[ArmId, dict[str, int]]:
    """Split a contribution by arm; fields without a name belong to `arm`."""
    parts: dict[ArmId, dict[str, int]] = defaultdict(dict)
    for name, value in contribution.items():
        base, _, other = name.partition("|")
        parts[other or arm][base] = value
    return dict(parts)
