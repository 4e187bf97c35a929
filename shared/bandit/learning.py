"""Integer contributions of a request's outcome and rating to the learned sums."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shared.bandit.arms import ArmId
from shared.bandit.change import LARGEST_SURPRISE, block_of
from shared.bandit.decision import ArmView, Group
from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.bandit.sums import (
    COMPLETION_TOKENS,
    COST,
    FAILURES,
    GAIN,
    GAIN_SQ,
    LABELS,
    LABELS_MILLI,
    LATENCY,
    LIFT_COST,
    LIFT_JUDGED,
    LIFT_JUDGED_SCORE,
    LIFT_JUDGED_SCORE_SQ,
    LIFT_LABELS,
    LIFT_REQUESTS,
    LIFT_SCORE,
    LIFT_SCORE_SQ,
    LIFT_TERMS,
    LIFT_TERMS_SQ,
    MICRO,
    NANO,
    PROMPT_TOKENS,
    REQUESTS,
    SCORE,
    SCORE_SQ,
    SHADOWS,
    SURPRISE,
    SURPRISES,
    UNPRICED,
)

BY_KIND = frozenset({LABELS, LABELS_MILLI, SCORE, REQUESTS, SHADOWS, UNPRICED, COST, LATENCY, SURPRISE, SURPRISES})
"""Fields that are also kept by kind of prompt."""

WEAK = 0.02
"""Weight of a score that nearly every answer gets: fifty of them tell as much as one that somebody gave."""


def outcome_sums(
    *,
    cost_usd: float | None,
    latency_s: float,
    prompt_tokens: int,
    completion_tokens: int,
    kind: KindId | None,
    served: bool = True,
) -> dict[str, int]:
    """Return the contribution of an answer to the sums of its arm. `cost_usd` None: unknown, not free.

    An answer that no user was served says what answers of its arm cost and how long they take; it is no traffic.
    """
    sums = {REQUESTS if served else SHADOWS: 1, LATENCY: round(latency_s * MICRO)}
    if cost_usd is None:
        sums |= {UNPRICED: 1}
    else:
        sums |= {
            COST: round(cost_usd * NANO),
            PROMPT_TOKENS: prompt_tokens,
            COMPLETION_TOKENS: completion_tokens,
        }
    return with_kind(sums, kind)


def failure_sums(failed: Iterable[ArmId], arm: ArmId) -> dict[str, int]:
    """Return the contribution of failed calls: one failure each, for its own arm. `arm` is the request's own.

    A failure is no more than that: its latency and cost say nothing of an answer's.
    """
    return {FAILURES if one == arm else f"{FAILURES}|{one}": count for one, count in Counter(failed).items()}


def feedback_sums(*, score: float, view: ArmView | None, kind: KindId | None) -> dict[str, int]:
    """Return the contribution of a rating to the sums of the arm that answered.

    `view` is what was believed of that arm at decision time. It scores the neighbours' shift against the estimate
    without it (prequential test, before this rating is learned): positive gain means that the shift predicted better.
    What surprised it, and its place among the arm's ratings, show later whether the arm has changed.
    """
    sums = {LABELS: 1, SCORE: round(score * MICRO), SCORE_SQ: round(score * score * MICRO)}
    if view is not None and view.local_shift != 0.0:
        gain = (score - view.base_quality) ** 2 - (score - view.base_quality - view.local_shift) ** 2
        sums |= {GAIN: round(gain * MICRO), GAIN_SQ: round(gain * gain * MICRO)}
    if view is not None:
        at = f"~{block_of(view.labels)}"
        sums |= {LABELS + at: 1, SCORE + at: sums[SCORE]}
        if view.rating_sd > 0.0:
            surprise = (score - view.base_quality) / view.rating_sd
            surprise = min(max(surprise, -LARGEST_SURPRISE), LARGEST_SURPRISE)
            sums |= {SURPRISES + at: 1, SURPRISE + at: round(surprise * MICRO)}
    return with_kind(sums, kind)


def score_sums(*, source: Source, score: float, kind: KindId | None, weight: float = 1.0) -> dict[str, int]:
    """Return the contribution of a score by another source than a user to the sums of the arm that answered."""
    labels = round(weight * 1000)
    squares = round(score * score * labels * (MICRO // 1000))
    counted = {LABELS_MILLI: labels, SCORE: round(score * labels * (MICRO // 1000)), SCORE_SQ: squares}
    return with_kind({f"{name}:{source}": value for name, value in counted.items()}, kind)


def check_sums(failed: Sequence[str] | None) -> dict[str, int]:
    """Return the contribution of an answer's checks to the sums of its arm: 1 if it failed none; None: not checked.

    It is in no kind of prompt: most answers pass, which says nothing of one kind against another.
    """
    return {} if failed is None else score_sums(source=Source.CHECK, score=float(not failed), kind=None, weight=WEAK)


def implicit_sums(score: float | None, *, repeats: ArmId | None, arm: ArmId) -> dict[str, int]:
    """Return what the user's behaviour says of an answer of `arm`, and of the one before it by `repeats`.

    A prompt that is asked again adds a second score, 0, to the arm that answered it before; with the 1 for that answer
    it makes one half. As the checks it is in no kind of prompt.
    """
    own = {} if score is None else score_sums(source=Source.IMPLICIT, score=score, kind=None, weight=WEAK)
    before = {} if repeats is None else score_sums(source=Source.IMPLICIT, score=0.0, kind=None, weight=WEAK)
    return dict(Counter(own) + Counter(of_arm(before, repeats or arm, arm)))


def with_kind(sums: Mapping[str, int], kind: KindId | None) -> dict[str, int]:
    """Return the same contribution, counted in `kind` and in no other; what it adds in total does not change."""
    total = {name: value for name, value in sums.items() if "@" not in name.partition("|")[0]}
    if kind is None:
        return total
    by_kind = {name: value for name, value in total.items() if re.split("[:~|]", name, maxsplit=1)[0] in BY_KIND}
    return total | {counted_in(name, kind): value for name, value in by_kind.items()}


def counted_in(name: str, kind: KindId) -> str:
    """Return the name of a field for requests of one kind, from that for all requests."""
    field, bar, arm = name.partition("|")
    base, block, at = field.partition("~")
    return f"{base}@{kind[0]}.{kind[1]}{block}{at}{bar}{arm}"


def lift_outcome_sums(group: Group, *, cost_usd: float, terms: float) -> dict[str, int]:
    """Return the contribution of an answer to the sums of its group; `terms`: its utility without quality."""
    sums = {
        LIFT_REQUESTS: 1,
        LIFT_COST: round(cost_usd * NANO),
        LIFT_TERMS: round(terms * MICRO),
        LIFT_TERMS_SQ: round(terms * terms * MICRO),
    }
    return {f"{name}:{group}": value for name, value in sums.items()}


def lift_rating_sums(group: Group, score: float) -> dict[str, int]:
    """Return the contribution of a rating to the sums of its group."""
    sums = {LIFT_LABELS: 1, LIFT_SCORE: round(score * MICRO), LIFT_SCORE_SQ: round(score * score * MICRO)}
    return {f"{name}:{group}": value for name, value in sums.items()}


def lift_judged_sums(group: Group, score: float) -> dict[str, int]:
    """Return the contribution of a judge's score of the answer that was served to the sums of its group."""
    sums = {
        LIFT_JUDGED[group]: 1,
        LIFT_JUDGED_SCORE[group]: round(score * MICRO),
        LIFT_JUDGED_SCORE_SQ[group]: round(score * score * MICRO),
    }
    return {f"{name}:{Source.JUDGE}": value for name, value in sums.items()}


def of_arm(sums: Mapping[str, int], arm: ArmId, own_arm: ArmId) -> dict[str, int]:
    """Return a contribution to the sums of `arm` as a part of that of a request that `own_arm` answered."""
    return dict(sums) if arm == own_arm else {f"{name}|{arm}": value for name, value in sums.items()}


def without_source(sums: Mapping[str, int], source: Source) -> dict[str, int]:
    """Return a contribution without the scores of a source other than users."""
    return {
        name: value
        for name, value in sums.items()
        if name.partition("|")[0].partition("@")[0].partition(":")[2] != source
    }
