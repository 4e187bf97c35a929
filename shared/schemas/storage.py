"""What goes into storage and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.sums import Centroids
from shared.schemas.events import Event
from shared.schemas.quota import Quota
from shared.schemas.records import Lesson, RequestRecord


class EmbeddingModel(Struct, frozen=True):
    """Which model makes the vectors. `id` is safe in a collection name; vectors of two models never mix."""

    id: str
    dimension: int


class Point(Struct, frozen=True, eq=False):
    """One request in the index: its vector, and the label once there is one (`score` None before)."""

    request_id: str
    vector: Vector
    arm: ArmId
    created_at: float
    owner: str
    score: float | None


class Applied(StrEnum):
    """What became of an effect."""

    APPLIED = "applied"
    REPLAYED = "replayed"  # this revision, or a newer one, was already in
    MISSING = "missing"  # the request's hash is gone; nothing was written, the event stays
    REFUSED = "refused"  # a delta or a stored field is not an integer in range; nothing was written


class Effect(Struct, frozen=True):
    """The contribution of one event to the sums of the day on which the request was made.

    `arm` is the request's own; fields of other arms in `sums` carry their name (see `shared.bandit.sums`).
    """

    event: Event
    arm: ArmId
    created_at: float
    sums: Mapping[str, int]


class Move(Struct, frozen=True):
    """Where one request is to be counted: `cluster` is (epoch, cluster), None for unknown."""

    arm: ArmId
    created_at: float
    cluster: tuple[int, int] | None


class Recounting(Struct, frozen=True, eq=False):
    """How far the counting by the newest clusters is.

    Attributes:
        centroids: the newest clusters.
        counted: whether all requests have been gone through since they were fitted.
        due: own ids, known to have been learned under other clusters.
        run: another one after a restart of the store, when whoever goes through all requests has to begin anew.
    """

    centroids: Centroids | None
    counted: bool
    due: list[str]
    run: str


class Reservation(StrEnum):
    """Answer to `reserve`."""

    NEW = "new"
    TAKEN = "taken"
    REFUSED = "refused"  # a limit of the key is reached; the id is still free
    UNASKED = "unasked"  # Redis is away; nobody notices a duplicate


class Claim(Struct, frozen=True):
    """What became of a claim, and what its key has left, where it has limits."""

    reservation: Reservation
    quota: Quota | None = None


class LearnedLimit(Struct, frozen=True):
    """What an arm has refused lately.

    Attributes:
        feature: a word of `shared.schemas.requirements`.
        lasts_s: for how long it counts from now.
        tokens: the smallest estimate that was refused, where the feature is a length; else 0.
    """

    arm: ArmId
    feature: str
    lasts_s: float
    tokens: int = 0


class Notice(Struct, frozen=True):
    """What one gateway tells the others.

    Attributes:
        rests: seconds for which models are left alone whose circuits it has opened.
        behind: it has answered requests, or is about to, of which Redis may know nothing yet.
        age_s: how long ago it said so, for the reader; `rests` and `limits` are counted from now.
        limits: what its arms have refused lately.
    """

    rests: Mapping[ArmId, float]
    behind: bool = False
    age_s: float = 0.0
    limits: tuple[LearnedLimit, ...] = ()


class Verdict(StrEnum):
    """Answer to `rate`."""

    ACCEPTED = "accepted"
    REVISED = "revised"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_RATEABLE = "not_rateable"
    KEY_REUSED = "key_reused"  # this Idempotency-Key came with another rating
    LINK_USED = "link_used"  # somebody has rated by this link already
    LIMITED = "limited"  # too many ratings a minute


class RatingTerms(Struct, frozen=True):
    """On which terms a rating is taken.

    Attributes:
        rater: who rates, for limits and idempotency; "public" where there are no keys.
        idempotency_key: hash of it. With the same rating again it gets the same answer, with another one KEY_REUSED.
        by_link: a signature vouches for the id, which is our own; it works once.
        per_minute: most ratings of `rater` a minute; 0 for no limit.
    """

    rater: str = "public"
    idempotency_key: str | None = None
    by_link: bool = False
    per_minute: int = 0


class NewRecord(Struct, frozen=True, eq=False):
    """A finished request on its way to storage.

    Attributes:
        prompt: its routing text, with STORE_PROMPTS alone.
        calls: keys of the tool calls in its answer (`shared.schemas.tool_loops`).
    """

    record: RequestRecord
    vector: Vector | None
    prompt: str | None = None
    calls: tuple[str, ...] = ()


class LoggedRequest(Struct, frozen=True, eq=False):
    """The part of a record that is learned from, with its vector and latest rating.

    Before the first rating, score is None and revision 0.
    """

    record: Lesson
    vector: Vector | None
    score: float | None
    revision: int


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
