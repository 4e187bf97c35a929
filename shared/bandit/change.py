"""Change detection: a CUSUM on ratings below expectation, and the remaining weight of earlier evidence.

    S <- max(0, S - sum (r - q) / sigma - .25 n),      block by block: n ratings r, each expected to be q when decided
    alarm where S > 12, and the arm had more than 20 ratings before S left 0; the break is where it left 0

Evidence before the last break weighs a tenth, and the rest of it is moved to the arm's new level: what the kinds of
prompt say of each other stays. Only falls are looked for. An arm that has improved is one that is hardly asked, and
ratings of before its rise cannot tell.

Blocks grow with the arm's ratings, by a tenth of them, so that there are few; they follow from the log (how many
ratings the arm had is in each decision's record), so that a break is found again after a rebuild. Nothing is stored of
an alarm: it follows from the sums each time.

Reference: Page (1954), Continuous inspection schemes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shared.bandit.sums import Block

FIRST_BLOCK, GROWTH = 32.0, math.log(1.1)
ALLOWANCE, ALARM = 0.25, 12.0  # in standard deviations of one rating
ENOUGH_LABELS = 20.0
KEPT = 0.1


@dataclass(frozen=True, slots=True)
class Break:
    """Adjustment of an arm's ratings after a change: weights times `kept`, scores moved by `shift`."""

    kept: float
    shift: float


def block_of(labels: float) -> int:
    """Return the block of a decision that was made when its arm had `labels` ratings."""
    return int(math.log1p(max(labels, 0.0) / FIRST_BLOCK) / GROWTH)


def find_break(blocks: Sequence[Block], labels: float, score: float, noise_sd: float) -> Break | None:
    """Return how an arm's `labels` ratings, of sum `score`, are to be counted; None while nothing has changed.

    Args:
        blocks: its ratings, oldest first.
        labels: recency-weighted; those in no block count as older than all.
        score: their sum.
        noise_sd: standard deviation of one rating.
    """
    start = _start(blocks, labels, noise_sd)
    if start is None:
        return None
    after = math.fsum(block.weight * block.labels for block in blocks[start:])
    score_after = math.fsum(block.weight * block.score for block in blocks[start:])
    effective = after + KEPT * max(labels - after, 0.0)
    if effective <= 0.0 or labels <= 0.0:
        return None
    level = (score_after + KEPT * max(score - score_after, 0.0)) / effective
    return Break(kept=min(effective / labels, 1.0), shift=level - score / labels)


def _start(blocks: Sequence[Block], labels: float, noise_sd: float) -> int | None:
    """Return the first block after the last break."""
    loose = max(labels - math.fsum(block.weight * block.labels for block in blocks), 0.0)
    seen, before, fallen = loose, loose, 0.0
    start, found = 0, None
    for i, block in enumerate(blocks):
        if fallen == 0.0:
            start, before = i, seen
        seen += block.labels
        fallen = max(0.0, fallen - block.residual / noise_sd - ALLOWANCE * block.labels)
        if fallen > ALARM and before > ENOUGH_LABELS:
            found, fallen = start, 0.0
    return found
