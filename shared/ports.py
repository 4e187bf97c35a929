"""The ports: what the use cases need of the world. Adapters live in `shared.storage` and `shared.clients`.

Every method may raise `DependencyError` (away, slow or lying), and nothing else unless it says so. Deadlines
are the callers', but for `within_s`, after which the adapter itself raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Neighbour, Vector
from shared.bandit.sums import Centroids, LearnedState
from shared.schemas.events import Event
from shared.schemas.history import OutboxDepth, PastRequest, Waiting
from shared.schemas.quota import Charge
from shared.schemas.records import StoredRequest
from shared.schemas.storage import (
    Applied,
    Claim,
    DeadLetter,
    Effect,
    EmbeddingModel,
    LoggedRequest,
    NewRecord,
    Notice,
    Point,
    QueueDepth,
    RatingTerms,
    Verdict,
)
from shared.schemas.upstream import Answer, AnswerStream, Call


class Clock(Protocol):
    """Time. Durations use `monotonic`, stamps use `now`."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never step back."""


class Embedder(Protocol):
    """Texts to unit vectors."""

    async def model(self) -> EmbeddingModel:
        """Return which model answers."""

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension) float32, rows of norm 1, all finite."""


class RequestIndex(Protocol):
    """Past requests by similarity."""

    async def prepare(self, model: EmbeddingModel) -> None:
        """Create the collection of `model` and its payload indexes, or find them; safe when many do it at once."""

    async def neighbours(
        self, vector: Vector, *, limit: int, threshold: float, since: float, within_s: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return labelled requests created at or after `since` (Unix s) with cosine >= threshold, nearest first."""

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points; the same id again replaces. Searchable when it returns."""

    async def delete_before(self, created_at: float) -> None:
        """Forget points created before that Unix second."""

    async def delete(self, request_ids: Sequence[str]) -> None:
        """Forget these points; unknown ids are fine."""

    async def sample(self, limit: int) -> NDArray[np.float32]:
        """Return up to `limit` stored vectors, (n, dimension), newest or random; for clustering."""

    async def count(self) -> int:
        """Return the number of stored points."""

    async def ping(self) -> str:
        """Return the engine's version."""


class PosteriorStore(Protocol):
    """The sums, one hash per arm and day."""

    async def load(self) -> LearnedState:
        """Return the recency-weighted sums of all arms. Cheap when little has changed since the last call.

        Raises CorruptState when a hash breaks an invariant.
        """

    async def apply(self, effects: Sequence[Effect]) -> list[Applied]:
        """Apply contributions and acknowledge their events, each atomically; in order, one answer each."""

    async def save_centroids(self, centroids: Centroids) -> bool:
        """Replace the cluster centres by those of a later epoch; False where that epoch, or a later one, is there."""

    async def forget_before(self, created_at: float) -> int:
        """Drop the hashes of days that ended before that Unix second; return how many."""


class RequestLog(Protocol):
    """Requests by id, their ratings, and the events that tell the learner. Writes are atomic per request."""

    async def reserve(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> Claim:
        """Claim `public_id` for `own_id`, and take `charge` from what `owner` may use: both or neither.

        An id whose request failed may be claimed again. Claiming one's own again changes nothing.
        """

    async def release(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> None:
        """Give back what `reserve` took for a request of which nothing came; again, or for another's id, nothing."""

    async def record(self, entries: Sequence[NewRecord]) -> None:
        """Store records and their outcome events, all in one write. Storing one again changes nothing."""

    async def find(self, *, owner: str | None, public_id: str) -> StoredRequest | None:
        """Return the request that `owner` (None: anybody, for an admin) knows by `public_id`."""

    async def rate(
        self,
        *,
        owner: str | None,
        public_id: str,
        score: float,
        text: str | None,
        now: float,
        terms: RatingTerms | None = None,
    ) -> Verdict:
        """Store the rating and its event in one atomic step.

        The same score and text again is DUPLICATE and changes nothing. A reserved request whose record is not yet
        written is ACCEPTED. Of `terms`, those that refuse are looked at first.
        """

    async def session_arm(self, *, owner: str, session: str) -> ArmId | None:
        """Return who answered last in a conversation, as told by its records; None after a day's silence."""

    async def explored_usd(self, now: float) -> float:
        """Return what the records of that UTC day say was paid for answers that only exploration chose."""

    def ids_of(self, owner: str | None, *, since: float) -> AsyncIterator[list[str]]:
        """Yield, in batches, own ids of requests of `owner` (None: all) created at or after `since`; slow."""

    async def withdraw(self, own_ids: Sequence[str]) -> list[int]:
        """Take ratings back; return the revision that their removal has, 0 where there is nothing to remove.

        The answer stays the same until that revision has been applied. A later rating counts anew.
        """

    async def load(self, own_ids: Sequence[str]) -> list[LoggedRequest | None]:
        """Return requests with what is learned from; None where the record is gone or not yet there.

        Their decisions lack neighbours, and beliefs about arms (`views`) unless they have been rated.
        """

    async def pending_index(self, limit: int) -> list[str]:
        """Return own ids whose point in the index is out of date, oldest first."""

    async def indexed(self, marks: Mapping[str, int]) -> list[str]:
        """Mark ids as indexed with the rating revision that was written; return those rated anew meanwhile."""


class EventQueue(Protocol):
    """The stream of events, read by a consumer group. An event is handed out again until it is acknowledged."""

    async def prepare(self) -> None:
        """Create the stream and its consumer group, or find them."""

    async def wake(self) -> None:
        """Tell a learner that there is work; losing this costs a second or two of delay, nothing else."""

    async def read(self, consumer: str, limit: int) -> list[Event]:
        """Return new events for `consumer`, without waiting."""

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[Event]:
        """Take over events that were handed out `idle_s` ago or longer and not acknowledged."""

    async def bury(self, event: Event, reason: str) -> None:
        """Move an event to the dead-letter stream, atomically."""

    async def requeue(self, limit: int) -> int:
        """Move dead letters back to the stream; return how many."""

    async def dead(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers that hold no event and have been silent for `idle_s`; return how many."""

    async def depth(self) -> QueueDepth:
        """Return how much waits."""


class Outbox(Protocol):
    """What `RequestLog` has stored and the history does not have yet. Reading takes nothing out."""

    async def read(self, limit: int) -> list[Waiting]:
        """Return the oldest entries. Two readers may get the same ones."""

    async def done(self, entries: Sequence[Waiting]) -> None:
        """Take entries out; unknown ones are fine."""

    async def depth(self) -> OutboxDepth:
        """Return how much waits."""


class History(Protocol):
    """Every request, decision, outcome and rating, for good. Writing something again changes nothing."""

    async def prepare(self) -> None:
        """Bring the tables up to date; safe when many do it at once."""

    async def write(self, entries: Sequence[Waiting]) -> list[Waiting]:
        """Store what they hold; return those that the database cannot take: only these are left out.

        A rating may come before its request. Of two with one revision the later stays, and the newest contribution.
        """

    def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[PastRequest]]:
        """Yield what was created at or after `since` (Unix s), oldest first, in batches."""

    async def count(self, *, since: float) -> int:
        """Return how many requests `read` will yield."""

    async def save_settings(self, settings_hash: str, content: Mapping[str, object]) -> None:
        """Say what a settings hash stands for; JSON values only."""

    async def save_centroids(self, centroids: Centroids) -> None:
        """Keep the cluster centres of an epoch."""

    async def centroids(self) -> Centroids | None:
        """Return the newest cluster centres."""


class Restorer(Protocol):
    """Puts back what the history remembers, while nobody else writes."""

    async def is_empty(self) -> bool:
        """Whether nothing is known of any request and nothing has been learned."""

    async def clear(self) -> None:
        """Forget requests, their public ids and what was learned; events that wait stay."""

    async def requests(self, past: Sequence[PastRequest]) -> None:
        """Store requests as recording, rating and learning had left them, oldest first."""

    async def sums(self, days: Mapping[tuple[ArmId, str], Mapping[str, int]]) -> None:
        """Store sums by arm and UTC day, in place of what is stored for them."""


class Heartbeats(Protocol):
    """Which learners live, and what gateways tell one another."""

    async def beat(self, worker: str, version: str, ttl_s: float) -> None:
        """Say that `worker` lives, for `ttl_s` seconds."""

    async def alive(self) -> Mapping[str, str]:
        """Return version by worker."""

    async def exchange(self, gateway: str, notice: Notice | None, ttl_s: float) -> Mapping[str, Notice]:
        """Replace what `gateway` says (None: nothing any more); return what others have said in the last `ttl_s`."""


class ChatModel(Protocol):
    """The upstream. Errors are `UpstreamError`, never `DependencyError`."""

    async def complete(self, call: Call) -> Answer:
        """Return the answer. Raises UpstreamError."""

    def stream(self, call: Call) -> AbstractAsyncContextManager[AnswerStream]:
        """Open a stream; entering waits until the upstream has accepted it. Raises UpstreamError."""

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return every model of the upstream with its price. Raises UpstreamError."""
