"""Arguments and results of the storage ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import Event
from shared.schemas.quota import Quota
from shared.schemas.records import Lesson, RequestRecord, Status


class EmbeddingModel(Struct, frozen=True):
    """The model of vectors. `id` is safe in a collection name; vectors of two models never mix."""

    id: str
    dimension: int


class Point(Struct, frozen=True, eq=False):
    """Point of the index: the vector of a request, and its score; without one it is no neighbour."""

    request_id: str
    vector: Vector
    arm: ArmId
    created_at: float
    owner: str
    score: float | None


class Applied(StrEnum):
    """Result of applying an effect."""

    APPLIED = "applied"
    REPLAYED = "replayed"  # this revision, or a newer one, was already applied
    MISSING = "missing"  # the request's hash is gone; nothing was written, the event stays
    REFUSED = "refused"  # a delta or a stored field is not an integer in range; nothing was written


class Effect(Struct, frozen=True):
    """Contribution of one event to the sums of the UTC day of its request.

    `arm` is the request's own; fields of other arms in `sums` carry their name (see `shared.bandit.sums`).
    """

    event: Event
    arm: ArmId
    created_at: float
    sums: Mapping[str, int]


def first_order(now: float) -> int:
    """Return the order to begin with where there are no kinds: later than any before Redis lost its memory."""
    return round(now * 1000)


def first_generation(now: float) -> int:
    """Return a generation that was not in use before Redis lost its memory: minutes since the start of 2026."""
    return max(1, int((now - 1_767_225_600) // 60))


class Assignment(Struct, frozen=True):
    """Assignment of a request to its kind of prompt.

    Attributes:
        kind: generation and id.
        order: place in the sequence of all assignments (`Kinds.order` after it); 0 for a request that a learner
            without this sequence counted.
    """

    kind: KindId
    order: int = 0


class Reservation(StrEnum):
    """Result of `reserve`."""

    NEW = "new"
    TAKEN = "taken"
    REFUSED = "refused"  # a limit of the key is reached; the id is still free
    UNASKED = "unasked"  # Redis is unreachable; duplicates are not detected


class Claim(Struct, frozen=True):
    """Result of a reservation, and the remaining quota of a key with limits."""

    reservation: Reservation
    quota: Quota | None = None


class LearnedLimit(Struct, frozen=True):
    """A feature or length that an arm has refused lately.

    Attributes:
        feature: a feature of `shared.schemas.requirements`.
        lasts_s: seconds until it expires.
        tokens: the smallest estimate that was refused, where the feature is a length; else 0.
    """

    arm: ArmId
    feature: str
    lasts_s: float
    tokens: int = 0


class Notice(Struct, frozen=True):
    """Gossip of one gateway to the others.

    Attributes:
        rests: open circuits: seconds until each model may be called again.
        behind: whether it may have answered requests that Redis does not have yet.
        age_s: age of the notice when read; `rests` and `limits` are relative to now.
        limits: what its arms have refused lately.
    """

    rests: Mapping[ArmId, float]
    behind: bool = False
    age_s: float = 0.0
    limits: tuple[LearnedLimit, ...] = ()


class Verdict(StrEnum):
    """Result of `rate`."""

    ACCEPTED = "accepted"
    REVISED = "revised"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_RATEABLE = "not_rateable"
    KEY_REUSED = "key_reused"  # this Idempotency-Key was used for another rating
    LINK_USED = "link_used"  # this link has been used already
    LIMITED = "limited"  # too many ratings a minute


class RatingTerms(Struct, frozen=True):
    """Conditions of a rating.

    Attributes:
        rater: hash of the rater's key, for limits and idempotency; "public" without keys.
        idempotency_key: its hash. The same rating again has the same result, another one KEY_REUSED.
        by_link: whether it came by a signed link, which names our own id and works once.
        per_minute: most ratings of `rater` a minute; 0 for no limit.
        source: of the score; each source has one rating of a request, of which the last counts.
        weight: of the score, for sources other than users.
    """

    rater: str = "public"
    idempotency_key: str | None = None
    by_link: bool = False
    per_minute: int = 0
    source: Source = Source.USER
    weight: float = 1.0


class LastAnswer(Struct, frozen=True):
    """Last answer in a conversation.

    Attributes:
        prompt: hash of the prompt, "" where it is not to be recognised.
        answered_at: Unix seconds of the request.
        cached_tokens: tokens of the prompt that the upstream had in its cache.
    """

    arm: ArmId
    prompt: str = ""
    answered_at: float = 0.0
    cached_tokens: int = 0

    def to_text(self) -> str:
        """Serialise."""
        return f"{self.arm}\n{self.prompt}\n{self.answered_at!r}\n{self.cached_tokens}"

    @staticmethod
    def from_text(text: str) -> LastAnswer:
        """Parse what this or an earlier version wrote; the earlier one wrote the arm alone."""
        arm, *rest = text.split("\n")
        try:
            prompt, at, cached = rest
            return LastAnswer(arm, prompt, float(at), int(cached))
        except ValueError:
            return LastAnswer(arm)


class NewRecord(Struct, frozen=True, eq=False):
    """A finished request on its way to storage.

    Attributes:
        prompt: its routing text, with STORE_PROMPTS only.
        calls: keys of the tool calls in its answer (`shared.schemas.tool_loops`).
        digest: hash by which the same prompt is recognised within its session; "" for none.
        cached_tokens: tokens of the prompt that the upstream had in its cache.
    """

    record: RequestRecord
    vector: Vector | None
    prompt: str | None = None
    calls: tuple[str, ...] = ()
    digest: str = ""
    cached_tokens: int = 0

    @property
    def last_answer(self) -> LastAnswer:
        """What its conversation remembers. Asking again after half an answer is no sign of its quality."""
        outcome = self.record.outcome
        digest = self.digest if outcome.status is Status.ANSWERED else ""
        return LastAnswer(outcome.arm, digest, self.record.created_at, self.cached_tokens)


def counted_kind(fields: Iterable[str]) -> KindId | None:
    """Return the kind of prompt that fields of a contribution are counted in; None if in none."""
    for name in fields:
        generation, _, rest = name.partition("|")[0].partition("@")[2].partition(".")
        number = rest.partition("~")[0]
        if generation.isdecimal() and number.isdecimal():
            return int(generation), int(number)
    return None


class LoggedRequest(Struct, frozen=True, eq=False):
    """The part of a record that is learned from, with its vector, latest rating and kind of prompt.

    Before the first rating by its user, score is None and revision 0. `assigned` is None until a learner has assigned
    it, `evaluation` until other models and a judge have answered. `counted` is what its outcome has added to the sums,
    None until then. Of a request whose story is gone the record has only what a rating is learned with.
    """

    record: Lesson
    vector: Vector | None
    score: float | None
    revision: int
    assigned: Assignment | None = None
    evaluation: Evaluation | None = None
    counted: Mapping[str, int] | None = None

    @property
    def kind(self) -> KindId | None:
        """Its kind of prompt."""
        return None if self.assigned is None else self.assigned.kind


class DeadLetter(Struct, frozen=True):
    """An event that could not be applied; `event.entry_id` is its place among the dead letters."""

    event: Event
    reason: str


class QueueDepth(Struct, frozen=True):
    """`waiting`: events not yet applied; `age_s`: age of the oldest; `dead`: dead letters; `unindexed`: points due."""

    waiting: int
    age_s: float
    dead: int
    unindexed: int
