"""Change detection: a CUSUM on ratings below expectation, and the remaining weight of earlier evidence.

    S <- max(0, S - sum z - .25 n),     block by block: n ratings r, z = (r - q) / sd, q expected when decided
    alarm where S > 12, and there were more than 20 ratings before S left 0; the break is where it left 0

sd is that of the rating as it was predicted: noise, and what was not known of the arm on such a prompt. Only ratings
count for which the latter was small, below a tenth of the noise's variance, with ten ratings or more nearby: a new kind
of prompt is no evidence that a model has become worse. Each arm is watched over all prompts and in each region of
similar kinds of prompt (`breaks.py`).

Evidence before the last break weighs a tenth. After a break over all prompts the rest of it is moved to the arm's new
level: what the kinds of prompt say of each other stays. Only falls are looked for. An arm that has improved is one that
is hardly asked, and ratings of before its rise cannot tell.

Blocks grow with the arm's ratings, by a tenth of them, so that there are few; they follow from the log (how many
ratings the arm had is in each decision's record), so that a break is found again after a rebuild. Nothing is stored of
an alarm: it follows from the sums each time.

Reference: Page (1954), Continuous inspection schemes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.sums import Block

Floats = NDArray[np.float64]

FIRST_BLOCK, GROWTH = 32.0, math.log(1.1)
ALLOWANCE, ALARM = 0.25, 12.0  # in standard deviations of one rating
ENOUGH_LABELS = 20.0
KEPT = 0.1
FEWEST_NEARBY = 10.0
LEAST_SD = 0.15
LARGEST_SURPRISE = 2.0
"""Of one rating, in standard deviations: a few ratings of another sort are no change."""

LARGEST_UNKNOWN = 0.1
"""Variance of an arm's expected quality, in units of the noise's, up to which a rating counts."""


@dataclass(frozen=True, slots=True)
class Break:
    """Adjustment of an arm's ratings after a change: weights times `kept`, scores moved by `shift`."""

    kept: float
    shift: float


def block_of(labels: float) -> int:
    """Return the block of a decision that was made when its arm had `labels` ratings."""
    return int(math.log1p(max(labels, 0.0) / FIRST_BLOCK) / GROWTH)


def rating_sd(noise_variance: float, quality_variance: float, labels_nearby: float) -> float:
    """Return the sd of a predicted rating, 0 where too little is known for a surprise to be evidence.

    That is where the arm has few ratings on similar prompts, or the variance of its quality is still large.
    """
    if labels_nearby < FEWEST_NEARBY or quality_variance >= LARGEST_UNKNOWN * noise_variance:
        return 0.0
    return max(math.sqrt(noise_variance + quality_variance), LEAST_SD)


def find_break(blocks: Sequence[Block], labels: float, score: float, decreases: Floats | None = None) -> Break | None:
    """Return how `labels` ratings, of sum `score`, are to be counted; None while nothing has changed.

    Args:
        blocks: the ratings, oldest first.
        labels: recency-weighted; those in no block count as older than all.
        score: their sum.
        decreases: what of the blocks' `decrease` counts, (R, B): in row 0 of all prompts, in each other one without
            some of them. The alarm has to hold in all rows. None: that of the blocks.
    """
    start = _start(
        blocks, labels, np.array([[decrease(block) for block in blocks]]) if decreases is None else decreases
    )
    if start is None:
        return None
    after = math.fsum(block.weight * block.labels for block in blocks[start:])
    score_after = math.fsum(block.weight * block.score for block in blocks[start:])
    effective = after + KEPT * max(labels - after, 0.0)
    if effective <= 0.0 or labels <= 0.0:
        return None
    level = (score_after + KEPT * max(score - score_after, 0.0)) / effective
    return Break(kept=min(effective / labels, 1.0), shift=level - score / labels)


def decrease(block: Block) -> float:
    """Return what a block adds to the cumulative sum: - sum z - .25 n."""
    return -block.surprise - ALLOWANCE * block.surprises


def cumulative(decreases: Floats) -> Floats:
    """Return the cumulative sums S after each block, (R, B), of R sequences of blocks."""
    total = np.cumsum(decreases, axis=1)
    lowest = np.minimum.accumulate(np.minimum(total, 0.0), axis=1)
    return np.asarray(total - lowest)


def _start(blocks: Sequence[Block], labels: float, decreases: Floats) -> int | None:
    """Return the first block after the last break."""
    fallen = cumulative(decreases)
    loose = max(labels - math.fsum(block.weight * block.labels for block in blocks), 0.0)
    seen, before = loose, loose
    start, found, begins = 0, None, True
    for i, block in enumerate(blocks):
        if begins:
            start, before = i, seen
        seen += block.labels
        alarm = before > ENOUGH_LABELS and bool((fallen[:, i] > ALARM).all())
        begins = alarm or fallen[0, i] == 0.0
        if alarm:
            found = start
            fallen[:, i + 1 :] = cumulative(decreases[:, i + 1 :])
    return found
