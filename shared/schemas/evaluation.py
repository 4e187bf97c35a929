"""Evaluation of a request: the task for a learner, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec
import orjson
from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.bandit.racing import EvaluationPlan

T = TypeVar("T")


class EvaluationTask(Struct, frozen=True):
    """What a learner needs to evaluate a request. It is kept for an hour at most, and deleted when the result is.

    Attributes:
        request_id: our own id of the request.
        owner: short hash of the API key, or "public".
        plan: the models to ask beside the one that served.
        arm: the model that served.
        body: the client's request without fields of routing, delivery and user: messages, tools, format.
        answer: the text that the client got; tool calls as JSON.
        reserved_nano_usd: what was taken from the day's budget for it, in 1e-9 USD.
        day: UTC day of that budget.
    """

    request_id: str
    owner: str
    plan: EvaluationPlan
    arm: ArmId
    body: Mapping[str, object]
    answer: str
    reserved_nano_usd: int
    day: str

    def to_json(self) -> bytes:
        """Serialise."""
        # orjson, because a body may hold fragments of it: numbers that pass on as they were written.
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return orjson.dumps(fields, default=msgspec.to_builtins)

    @staticmethod
    def from_json(raw: bytes) -> EvaluationTask:
        """Parse and validate. Raises ValueError."""
        return _decode(_TASK, raw)


class Submitted(StrEnum):
    """Result of submitting a task."""

    SUBMITTED = "submitted"
    OVER_BUDGET = "over_budget"  # the day's budget does not cover it
    QUEUE_FULL = "queue_full"  # too many wait already


class QueuedEvaluation(Struct, frozen=True):
    """A task as it was delivered: its entry in the stream, how often that was delivered, and its content.

    `task` is None where the content has expired or cannot be read.
    """

    entry_id: str
    request_id: str
    deliveries: int
    task: EvaluationTask | None


class EvaluationDepth(Struct, frozen=True):
    """`waiting`: tasks not yet finished, those in work among them; `age_s`: age of the oldest."""

    waiting: int
    age_s: float


class Candidate(Struct, frozen=True):
    """One answer of an evaluation.

    Attributes:
        served: whether it is the answer that the client got; its cost and time are in the request's outcome.
        score: the judge's, between 0 and 1; None where the model did not answer or the judge gave none.
        error: a bounded label of a failed call, None for an answer.
        cost_usd: None if unknown, which is not the same as free.
    """

    arm: ArmId
    served: bool
    score: float | None
    error: str | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Evaluation(Struct, frozen=True):
    """Result of an evaluation, stored with the request. No user has seen the answers that were not served.

    Attributes:
        judge: model of the judge; `rubric` is the hash of its rubric.
        evaluated_at: Unix seconds.
        judge_cost_usd: None if unknown.
        error: a bounded label where the judge gave no verdict.
    """

    judge: str
    rubric: str
    evaluated_at: float
    candidates: tuple[Candidate, ...]
    judge_cost_usd: float | None = None
    error: str | None = None

    @property
    def spent_usd(self) -> float:
        """Known cost of the answers beside the user's path, and of the judge."""
        return sum(cost for cost in self._costs() if cost is not None)

    @property
    def served_score(self) -> float | None:
        """The judge's score of the answer that the client got; None without one."""
        return next((one.score for one in self.candidates if one.served), None)

    @property
    def all_costs_known(self) -> bool:
        """Whether each call's cost is known; a call that was not made costs 0."""
        return None not in self._costs()

    def _costs(self) -> tuple[float | None, ...]:
        return (*(one.cost_usd for one in self.candidates if not one.served), self.judge_cost_usd)

    def to_json(self) -> bytes:
        """Serialise."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(raw: bytes) -> Evaluation:
        """Parse and validate. Raises ValueError."""
        return _decode(_EVALUATION, raw)


_TASK = msgspec.json.Decoder(EvaluationTask)
_EVALUATION = msgspec.json.Decoder(Evaluation)


def _decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
