"""Effects of events: what an outcome, a rating or an evaluation adds to the learned sums. Pure functions."""

from __future__ import annotations

from collections import Counter

from shared.bandit.learning import (
    check_sums,
    failure_sums,
    feedback_sums,
    implicit_sums,
    lift_judged_sums,
    lift_outcome_sums,
    lift_rating_sums,
    of_arm,
    outcome_sums,
    score_sums,
)
from shared.bandit.lift import realised_terms
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums
from shared.bandit.sums import EVALUATION, FAILURES, NANO, by_arm
from shared.schemas.events import Event, EventKind
from shared.schemas.records import BLAMELESS, Lesson, Status
from shared.schemas.storage import Effect, LoggedRequest


def effect_of(event: Event, request: LoggedRequest) -> Effect:
    """Return what `event` adds to the sums of the arm that answered, and of others that failed or answered beside it.

    It is also counted in the request's kind of prompt, whatever the decision took for its kind.

    Raises:
        CorruptState: readers would refuse sums that include this.
        ValueError, OverflowError: a figure of the record is not finite.
    """
    record = request.record
    match event.kind:
        case EventKind.FEEDBACK:
            sums = _rating(event, request)
        case EventKind.EVALUATION:
            sums = _evaluation(request)
        case _:
            sums = _outcome(request)
    for part in by_arm(record.outcome.arm, sums).values():
        parse_sums({name: str(value) for name, value in part.items()})
    return Effect(event=event, arm=record.outcome.arm, created_at=record.created_at, sums=sums)


def _outcome(request: LoggedRequest) -> dict[str, int]:
    outcome = request.record.outcome
    sums = failure_sums((attempt.arm for attempt in outcome.attempts if attempt.blames_arm), outcome.arm)
    if outcome.status is Status.ANSWERED:  # time and cost of a partial answer say nothing of a whole one
        sums |= outcome_sums(
            cost_usd=outcome.cost_usd,
            latency_s=outcome.upstream_s,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
            kind=request.kind,
        )
    sums = Counter(sums | check_sums(outcome.failed_checks))
    sums.update(implicit_sums(_implied_score(request.record), repeats=request.record.repeats, arm=outcome.arm))
    return sums | _lift_of_outcome(request.record)


def _lift_of_outcome(record: Lesson) -> dict[str, int]:
    """Return what an answer of known cost adds to the sums of its group; nothing without a control group."""
    decision, outcome = record.decision, record.outcome
    if decision.group is None or decision.weights is None or not record.rateable or outcome.cost_usd is None:
        return {}
    terms = realised_terms(decision.views, outcome.cost_usd, outcome.upstream_s, decision.weights)
    return lift_outcome_sums(decision.group, cost_usd=outcome.cost_usd, terms=terms)


def _implied_score(record: Lesson) -> float | None:
    """Return what the client's behaviour says of its answer: 0 where it left; None where nothing could be seen of it.

    1 is a preliminary result: asking again takes it back in part (`implicit_sums`).
    """
    outcome = record.outcome
    if outcome.abandoned:
        return 0.0
    observed = outcome.status is Status.ANSWERED and (outcome.streamed or record.session is not None)
    return 1.0 if observed else None


def _rating(event: Event, request: LoggedRequest) -> dict[str, int]:
    record = request.record
    if event.score is None or not 0.0 <= event.score <= 1.0:
        raise ValueError("the event's score is not between 0 and 1")
    if not record.rateable:
        return {}  # rated while it was streamed, before it failed
    if event.source is not Source.USER:
        return score_sums(source=event.source, score=event.score, kind=request.kind, weight=event.weight)
    view, group = record.decision.view(record.outcome.arm), record.decision.group
    sums = feedback_sums(score=event.score, view=view, kind=request.kind)
    return sums if group is None else sums | lift_rating_sums(group, event.score)


def _evaluation(request: LoggedRequest) -> dict[str, int]:
    """Return what answers beside the user's path cost and took, and what the judge thinks of all of them."""
    if request.evaluation is None:
        raise ValueError("the request has no evaluation that can be read")
    group = request.record.decision.group
    sums = Counter({EVALUATION: round(request.evaluation.spent_usd * NANO)})
    for answer in request.evaluation.candidates:
        part: dict[str, int] = {}
        if not answer.served and answer.error is None:
            part = outcome_sums(
                cost_usd=answer.cost_usd,
                latency_s=answer.latency_s,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                kind=request.kind,
                served=False,
            )
        elif answer.error is not None and answer.error not in BLAMELESS:
            part = {FAILURES: 1}
        if answer.score is not None:
            part |= score_sums(source=Source.JUDGE, score=answer.score, kind=request.kind)
            if answer.served and group is not None:
                part |= lift_judged_sums(group, answer.score)
        sums.update(of_arm(part, answer.arm, request.record.outcome.arm))
    return dict(sums)
