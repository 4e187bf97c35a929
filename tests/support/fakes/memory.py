"""What the fakes of the request log, the posteriors and the queue share, as their adapters share one Redis."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.kinds import Kinds
from shared.bandit.sources import Source
from shared.schemas.evaluation import Evaluation, EvaluationTask
from shared.schemas.events import Event, EventKind, ledger_name
from shared.schemas.history import PastRating, Waiting
from shared.schemas.imports import Import
from shared.schemas.records import RequestRecord
from shared.schemas.storage import Assignment, DeadLetter, LastAnswer, Notice, Verdict
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.quota_ledger import QuotaLedger
from tests.support.values import replace


@dataclass
class Story:
    """One request's hash, or that of an imported prompt."""

    record: RequestRecord | None = None
    imported: Import | None = None
    vector: Vector | None = None
    ratings: dict[Source, PastRating] = field(default_factory=dict)
    """The last revision by each source; its score is None if it was withdrawn."""
    link_used: bool = False
    indexed: bool = False
    """Whether its point has been written: then its vector goes, and without a history its story is packed."""
    kept: bool = False
    """Whether it is in the history: then its story goes as well."""
    assigned: Assignment | None = None
    evaluation: Evaluation | None = None
    ledger: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)

    def score(self, source: Source = Source.USER) -> float | None:
        """Return the valid score by a source."""
        return self.ratings[source].score if source in self.ratings else None

    def revision(self, source: Source = Source.USER) -> int:
        """Return the revision of the rating by a source."""
        return self.ratings[source].revision if source in self.ratings else 0

    def applied(self, source: Source = Source.USER) -> int:
        """Return the revision that has been learned."""
        return self.ledger.get(ledger_name(EventKind.FEEDBACK, source), (0, {}))[0]

    @property
    def is_recorded(self) -> bool:
        """Return whether there is anything to learn from."""
        return self.record is not None or self.imported is not None


@dataclass
class QueuedTask:
    """A task of an evaluation, and to whom it was delivered."""

    task: EvaluationTask
    submitted_at: float
    consumer: str | None = None
    delivered_at: float = math.inf
    deliveries: int = 0


@dataclass
class Alias:
    """What a public id stands for."""

    own_id: str
    reserved_at: float
    failed: bool = False

    @property
    def name(self) -> str:
        """Return what Redis stores: the own id, with "!" behind it once that request has failed."""
        return self.own_id + "!" * self.failed


@dataclass
class Memory:
    """One Redis, as far as we use it. `away` set makes every port raise DependencyError."""

    clock: FakeClock = field(default_factory=FakeClock)
    away: bool = False
    stories: dict[str, Story] = field(default_factory=lambda: defaultdict(Story))
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    """Owners of requests with a key, by whose aliases admins find a public id."""
    events: dict[str, Event] = field(default_factory=dict)
    handed_out: dict[str, tuple[str, float]] = field(default_factory=dict)
    dead: dict[str, DeadLetter] = field(default_factory=dict)
    sums: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    versions: Counter[tuple[str, str]] = field(default_factory=Counter)
    sessions: dict[tuple[str, str], tuple[LastAnswer, float]] = field(default_factory=dict)
    steps: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    explored: Counter[str] = field(default_factory=Counter)
    answers: dict[tuple[str, str], tuple[object, Verdict]] = field(default_factory=dict)
    rated: Counter[tuple[str, int]] = field(default_factory=Counter)
    unindexed: dict[str, None] = field(default_factory=dict)
    outbox: dict[str, Waiting] = field(default_factory=dict)
    dropped: int = 0
    kinds: Kinds | None = None
    tasks: dict[str, QueuedTask] = field(default_factory=dict)
    evaluation_spent: Counter[str] = field(default_factory=Counter)
    notices: dict[str, tuple[Notice, float]] = field(default_factory=dict)
    arms: dict[ArmId, bool] = field(default_factory=dict)
    free_arms: tuple[ArmId, ...] = ()
    wakes: int = 0
    recorded: int = 0
    """How often a record was written; a second time changes nothing else."""
    last_entry: int = 0
    quotas: QuotaLedger = field(init=False)

    def __post_init__(self) -> None:
        self.quotas = QuotaLedger(self.clock)

    def add(self, event: Event) -> None:
        """Append an event to the stream under a new entry id."""
        self.last_entry += 1
        entry_id = f"{round(self.clock.now() * 1000)}-{self.last_entry}"
        self.events[entry_id] = replace(event, entry_id=entry_id, deliveries=0)

    def remember(self, bound: int, waiting: Waiting) -> None:
        """Put something on its way to the history, unless there is none (bound 0) or it waits in vain."""
        if len(self.outbox) < bound:
            self.last_entry += 1
            entry_id = f"{round(self.clock.now() * 1000)}-{self.last_entry}"
            self.outbox[entry_id] = replace(waiting, entry_id=entry_id)
        elif bound:
            self.dropped += 1

    def acknowledge(self, entry_id: str) -> None:
        """Forget an event."""
        self.events.pop(entry_id, None)
        self.handed_out.pop(entry_id, None)
