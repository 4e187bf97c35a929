"""Record of one request, as stored in Redis and returned by `GET /requests/{id}`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import force_setattr

from shared.bandit.arms import ArmId
from shared.bandit.decision import NEIGHBOUR_FIELDS, ArmView, Decision, Group, Weights
from shared.bandit.kinds import KindId
from shared.bandit.racing import EvaluationPlan
from shared.bandit.sources import Source
from shared.errors import Scope
from shared.schemas.evaluation import Evaluation
from shared.schemas.quota import Toll


class Status(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    TRUNCATED = "truncated"  # the upstream's stream was cut after the first byte
    CANCELLED = "cancelled"  # the client went away
    FAILED = "failed"  # no arm could answer


class Attempt(Struct, frozen=True):
    """One call to an arm.

    Attributes:
        error: a bounded label (`timeout`, `refused`, `status_503`, …), None for success.
        spent: whether it may have been billed.
        cost_usd: estimated bill of a failed call, None if unknown; the cost of the answer is in the outcome.
        scope: scope of the failure; None without one, and in records of earlier versions.
        feature: the feature of the request that the arm said it lacks.
    """

    arm: ArmId
    error: str | None
    duration_s: float
    spent: bool
    cost_usd: float | None = 0.0
    scope: Scope | None = None
    feature: str | None = None

    @property
    def blames_arm(self) -> bool:
        """Whether the arm is to blame, not the request, our account or the router."""
        if self.scope is not None:
            return self.scope is Scope.ARM
        return self.error is not None and self.error not in BLAMELESS


BLAMELESS = frozenset(
    (
        *("status_400", "status_413", "status_422"),  # the request: every arm would refuse it
        *("status_401", "status_402", "status_403"),  # our key, or a moderated prompt
        *("cancelled", "internal", "cooling"),
    )
)
"""Labels of failures that say nothing about the arm, for records without a scope."""


class Outcome(Struct, frozen=True):
    """Outcome of a request: status, cost and times.

    Attributes:
        arm: the arm that answered, or the last one tried.
        cost_usd: None if unknown, which is not the same as free.
        cost_source: `upstream` (its usage says so), `price` (tokens at list price), `estimate` (the tokens are our own
            count, at list price), `none` (there was no answer) or `unknown`.
        overhead_s: our own time before the first upstream call.
        upstream_s: first byte sent to last byte received.
        first_token_s: of streams only.
        failed_checks: checks that the answer failed, by their words; None where it was not checked: no whole answer, or
            a record of an earlier version.
    """

    status: Status
    arm: ArmId
    cost_usd: float | None
    cost_source: str
    prompt_tokens: int
    completion_tokens: int
    overhead_s: float
    upstream_s: float
    first_token_s: float | None
    streamed: bool
    attempts: tuple[Attempt, ...]
    failed_checks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Read the records of earlier versions, which have an unknown cost as 0."""
        if self.cost_source == "unknown":
            force_setattr(self, "cost_usd", None)

    @property
    def abandoned(self) -> bool:
        """Whether the client left while a streamed answer was arriving."""
        return self.status is Status.CANCELLED and self.first_token_s is not None

    @property
    def spent_usd(self) -> float:
        """Known cost of the whole request: the answer, and failed calls that may be billed."""
        return (self.cost_usd or 0.0) + sum(attempt.cost_usd or 0.0 for attempt in self.attempts)


class RequestRecord(Struct, frozen=True):
    """One request.

    Attributes:
        id: our own id, a UUIDv7; the storage key and the Qdrant point's id.
        public_id: the id that the client knows: its X-Request-ID, or `id`.
        owner: short hash of the API key, or "public".
        created_at: Unix seconds.
        requested_model: the `model` of the body, or None.
        embedding_model: id of the model that made the vector, or None without one.
        settings_hash: hash of the settings that shaped the decision.
        session: hash of the conversation's id, or None for a request that belongs to none.
        shadow: in shadow mode, the choice that was not followed.
        toll: the reserved charge, settled when it is recorded; None for a key without limits.
        traits: of the request beside the user's text (`shared.schemas.traits`); empty in records of earlier versions.
        repeats: the arm whose answer to the same prompt was the last in the conversation, a moment ago; None for none.
        evaluation_plan: the evaluation that was drawn for it; None for none, and in records of earlier versions.
    """

    id: str
    public_id: str
    owner: str
    created_at: float
    requested_model: str | None
    embedding_model: str | None
    decision: Decision
    outcome: Outcome
    settings_hash: str = ""
    session: str | None = None
    shadow: Decision | None = None
    toll: Toll | None = None
    traits: tuple[str, ...] = ()
    evaluation_plan: EvaluationPlan | None = None
    repeats: ArmId | None = None

    @property
    def explored_usd(self) -> float:
        """Cost of an answer by an arm that only exploration chose; 0 for any other, or if unknown."""
        explored = self.decision.explored and self.outcome.arm == self.decision.arm
        return self.outcome.cost_usd or 0.0 if explored else 0.0

    @property
    def rateable(self) -> bool:
        """Whether it can be rated: the whole answer has reached the client."""
        return self.outcome.status is Status.ANSWERED

    def to_json(self) -> bytes:
        """Serialise; 12 arms and 50 neighbours take about 20 microseconds."""
        return _ENCODER.encode(self)

    @staticmethod
    def from_json(raw: bytes) -> RequestRecord:
        """Parse and validate a record of this or an earlier version. Raises ValueError."""
        try:
            return _RECORD.decode(raw)
        except msgspec.MsgspecError as error:
            upgraded = _with_rows(raw)
            if upgraded is None:
                raise ValueError(str(error)) from error
        try:
            return _RECORD.decode(upgraded)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error


class Evidence(Struct, frozen=True):
    """The part of a decision that is learned from."""

    views: tuple[ArmView, ...] = ()
    weights: Weights | None = None
    group: Group | None = None

    def view(self, arm: ArmId) -> ArmView | None:
        """Return the view of `arm`, or None if it was not weighed."""
        return next((view for view in self.views if view.arm == arm), None)


class Lesson(Struct, frozen=True):
    """The part of a record that is learned from. Decoding it skips neighbours and reasons: most of a record."""

    id: str
    owner: str
    created_at: float
    embedding_model: str | None
    decision: Evidence
    outcome: Outcome
    traits: tuple[str, ...] = ()
    session: str | None = None
    repeats: ArmId | None = None

    @property
    def rateable(self) -> bool:
        """Whether it can be rated: the whole answer has reached the client."""
        return self.outcome.status is Status.ANSWERED

    @staticmethod
    def from_json(raw: bytes) -> Lesson:
        """Parse the record of this or an earlier version. Raises ValueError."""
        try:
            return _LESSON.decode(raw)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error

    @staticmethod
    def of(record: RequestRecord) -> Lesson:
        """Return the lesson of a whole record."""
        decision = Evidence(record.decision.views, record.decision.weights, record.decision.group)
        model, traits = record.embedding_model, record.traits
        return Lesson(
            *(record.id, record.owner, record.created_at, model, decision, record.outcome, traits),
            session=record.session,
            repeats=record.repeats,
        )


_ENCODER = msgspec.json.Encoder()
_RECORD = msgspec.json.Decoder(RequestRecord)
_LESSON = msgspec.json.Decoder(Lesson)


def _with_rows(raw: bytes) -> bytes | None:
    """Return a record of an earlier version in today's form; None if it is not a record.

    Neighbours were once written with names. In a history only a shadow's still are: a decision's are in columns.
    """
    try:
        record = orjson.loads(raw)
        for decision in (record["decision"], record.get("shadow")):
            if decision is not None:
                decision["neighbours"] = [_row(use) for use in decision["neighbours"]]
    except (ValueError, KeyError, TypeError):
        return None
    return orjson.dumps(record)


def _row(use: Any) -> Any:
    return [use[name] for name in NEIGHBOUR_FIELDS] if isinstance(use, dict) else use


class Rating(Struct, frozen=True):
    """The latest feedback of a source on a request. `revision` starts at 1 and grows with each changed rating."""

    score: float
    revision: int
    text: str | None
    rated_at: float
    weight: float = 1.0


class StoredRequest(Struct, frozen=True):
    """A record with its ratings and its evaluation, and what of them has been learned.

    Attributes:
        rating: by its user.
        rating_applied: revision of that rating that is in the posterior; 0 for none.
        scores: latest rating by each other source.
        scores_applied: revision of each that is in the posterior.
        kind: the kind of prompt that it was assigned to; None until then.
    """

    record: RequestRecord
    rating: Rating | None
    outcome_applied: bool
    rating_applied: int
    evaluation: Evaluation | None = None
    evaluation_applied: bool = False
    scores: Mapping[Source, Rating] = {}
    scores_applied: Mapping[Source, int] = {}
    kind: KindId | None = None
