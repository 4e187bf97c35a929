"""What is learned of an answer besides ratings: its checks, and what the user does next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from services.learner.learning.effects import effect_of
from shared.bandit.arms import ArmId
from shared.bandit.decision import ArmView, Group, Weights
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import ArmSums, GroupSums, Scores, SourceSums, by_arm
from shared.schemas.events import Event, EventKind
from shared.schemas.records import Lesson, RequestRecord, Status
from shared.schemas.storage import Assignment, LoggedRequest
from tests.support.sample_records import ARM, a_record
from tests.support.values import replace

NOW = 1_795_000_000.0
KIND = Assignment((1, 7), 3)


def learned(records: Iterable[RequestRecord]) -> dict[ArmId, ArmSums]:
    """Return what the outcomes of these requests add to the sums of each model."""
    sums: dict[ArmId, Counter[str]] = {}
    for record in records:
        request = LoggedRequest(Lesson.from_json(record.to_json()), None, None, 0, KIND)
        effect = effect_of(Event("1-0", EventKind.OUTCOME, record.id, 1), request)
        for arm, part in by_arm(effect.arm, effect.sums).items():
            sums.setdefault(arm, Counter()).update(part)
    parsed = {arm: parse_sums({name: str(value) for name, value in one.items()}) for arm, one in sums.items()}
    return {arm: weighted_sums([(1.0, one)]) for arm, one in parsed.items()}


def test_checked_answers_are_scores_of_their_own_source() -> None:
    """With a fiftieth of a rating's weight, or the router would take every model for well known.

    One that failed a check is 0, one that passed is 1; an answer of a version without checks is neither.
    """
    record, checks = a_record(NOW), ((), (), ("cut", "repetition"), None)
    outcomes = [replace(record.outcome, failed_checks=failed) for failed in checks]
    one = learned(replace(record, outcome=outcome) for outcome in outcomes)[ARM]
    assert one.sources == {Source.CHECK: SourceSums(Scores(0.06, 0.04, 0.04))}
    assert (one.total.requests, one.total.labels, one.kinds[KIND.kind].requests) == (4, 0, 4)


def test_what_users_do_next_is_evidence_of_its_own_source() -> None:
    """1 for an answer whose user could be seen, 0 for a stream that was left, and 0 more where it was asked again."""
    seen = [
        implied(session="0a1b"),
        implied(streamed=True),
        implied(status=Status.CANCELLED, streamed=True, first_token_s=0.5),
        implied(session="0a1b", repeats=ARM),
        implied(session="0a1b", repeats="b/two"),
    ]
    unseen = [implied(), implied(status=Status.CANCELLED, streamed=True), implied(status=Status.TRUNCATED)]
    arms = learned(seen + unseen)
    assert arms[ARM].sources == {Source.IMPLICIT: SourceSums(Scores(0.12, 0.08, 0.08))}
    assert arms["b/two"] == ArmSums(sources={Source.IMPLICIT: SourceSums(Scores(0.02, 0.0, 0.0))})
    assert arms[ARM].total.labels == 0


def implied(
    *,
    status: Status = Status.ANSWERED,
    session: str | None = None,
    repeats: str | None = None,
    streamed: bool = False,
    first_token_s: float | None = None,
) -> RequestRecord:
    record = a_record(NOW, status=status)
    outcome = replace(record.outcome, streamed=streamed, first_token_s=first_token_s)
    return replace(record, outcome=outcome, session=session, repeats=repeats)


def grouped(group: Group | None, status: Status = Status.ANSWERED, *, cost_usd: float | None = 0.5) -> RequestRecord:
    """A request whose expected cost was 1 USD and whose expected time was 2.5 seconds, twice the real one."""
    view = ArmView(ARM, 0.8, 0.05, 0.05, 0.8, 0.0, 1.0, 2.5, 1.0, 0.0, 0.4, 0.4, 0.5, 20.0)
    record = a_record(NOW, status=status)
    decision = replace(record.decision, views=(view,), weights=Weights(0.6, 0.2, -0.4), group=group)
    return replace(record, decision=decision, outcome=replace(record.outcome, cost_usd=cost_usd))


def test_answers_count_for_their_group_with_the_terms_of_their_own_utility() -> None:
    """Speed .2 x .5 less cost .4 x .5. Nothing without a group, of a part of an answer, or of unknown cost."""
    one = learned([grouped(Group.CONTROL), grouped(Group.ROUTED), grouped(Group.ROUTED)])[ARM]
    assert one.groups == {
        Group.CONTROL: GroupSums(requests=1, cost_usd=0.5, terms=-0.1, terms_sq=0.01),
        Group.ROUTED: GroupSums(requests=2, cost_usd=1.0, terms=-0.2, terms_sq=0.02),
    }
    others = (grouped(None), grouped(Group.CONTROL, Status.TRUNCATED), grouped(Group.CONTROL, cost_usd=None))
    assert learned(others)[ARM].groups == {}


@pytest.mark.parametrize(
    ("source", "groups"),
    [(Source.USER, {Group.CONTROL: GroupSums(labels=1, score=0.5, score_sq=0.25)}), (Source.EVAL, {})],
)
def test_ratings_by_users_count_for_the_group(source: Source, groups: dict[Group, GroupSums]) -> None:
    record = grouped(Group.CONTROL)
    request = LoggedRequest(Lesson.from_json(record.to_json()), None, 0.5, 1, KIND)
    effect = effect_of(Event("1-0", EventKind.FEEDBACK, record.id, 1, score=0.5, source=source), request)
    fields: dict[bytes | str, bytes | str] = {name: str(value) for name, value in effect.sums.items()}
    assert weighted_sums([(1.0, parse_sums(fields))]).groups == groups
