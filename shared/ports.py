"""Ports: interfaces that the use cases need. Adapters live in `shared.storage` and `shared.clients`.

Every method may raise `DependencyError` (unreachable, slow, or an invalid answer), and nothing else unless its
docstring says so. Callers set deadlines, except for `within_s`, after which the adapter itself raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Neighbour, Vector
from shared.bandit.kinds import Kinds
from shared.bandit.sources import Source
from shared.bandit.sums import LearnedState
from shared.schemas.events import Event
from shared.schemas.history import OldClusters, OutboxDepth, PastAssignment, PastRequest, Waiting
from shared.schemas.quota import Charge
from shared.schemas.records import StoredRequest
from shared.schemas.storage import (
    Applied,
    Assignment,
    Claim,
    DeadLetter,
    Effect,
    EmbeddingModel,
    LastAnswer,
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
        """Return the embedding model in use."""

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return (len(texts), dimension) float32, rows of norm 1, all finite."""


class RequestIndex(Protocol):
    """Past requests by similarity."""

    async def prepare(self, model: EmbeddingModel) -> None:
        """Create the collection of `model` and its payload indexes, or find them; safe to run concurrently."""

    async def neighbours(
        self, vector: Vector, *, limit: int, threshold: float, since: float, within_s: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return labelled requests created at or after `since` (Unix s) with cosine >= threshold, nearest first."""

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those with the same id; they are searchable when it returns."""

    async def label(self, scores: Mapping[str, float | None]) -> None:
        """Replace the score of points by request id, None for none; unknown ids are ignored."""

    async def delete_before(self, created_at: float) -> None:
        """Delete points created before that Unix second."""

    async def delete(self, request_ids: Sequence[str]) -> None:
        """Delete these points; unknown ids are ignored."""

    async def count(self) -> int:
        """Return the number of stored points."""

    async def ping(self) -> str:
        """Return the engine's version."""


class PosteriorStore(Protocol):
    """Store of the learned sums: one hash per arm and day."""

    async def load(self) -> LearnedState:
        """Return the recency-weighted sums of all arms, cheaply if few have changed. Raises CorruptState."""

    async def apply(self, effects: Sequence[Effect]) -> list[Applied]:
        """Apply contributions and acknowledge their events, each atomically and in order; return one result each."""

    async def forget_before(self, created_at: float) -> int:
        """Drop the hashes of days that ended before that Unix second; return how many."""


class KindStore(Protocol):
    """Store of the kinds of prompt. Every assignment goes through `save`, and so has one place in one sequence."""

    async def load(self) -> Kinds | None:
        """Return the kinds in double precision, None if there are none.

        The clusters of an earlier version become kinds first. Raises CorruptState when the kinds are damaged.
        """

    async def save(self, before: Kinds | None, after: Kinds, assigned: Mapping[str, Assignment]) -> bool:
        """Replace `before` by `after`, and store the kind of each assigned request, atomically.

        False, and nothing is written, where the stored kinds are not `before` or one of the requests has a kind.
        """


class RequestLog(Protocol):
    """Store of requests by id, their ratings, and the events for the learner. Writes are atomic per request."""

    async def reserve(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> Claim:
        """Reserve `public_id` for `own_id` and take `charge` from the quota of `owner`, atomically.

        The id of a failed request can be reserved again. Reserving again for the same `own_id` changes nothing.
        """

    async def release(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> None:
        """Undo `reserve`, or what is unused of it, for a request without a record; idempotent; leaves others' ids."""

    async def record(self, entries: Sequence[NewRecord]) -> None:
        """Store records and their outcome events in one write. Idempotent per record."""

    async def find(self, *, owner: str | None, public_id: str) -> StoredRequest | None:
        """Return the request that `owner` (None: any) knows by `public_id`. Raises Gone where its record is gone."""

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
        """Store the rating and its event atomically, also before the record. The same by its source is DUPLICATE."""

    async def last_answer(self, *, owner: str, session: str) -> LastAnswer | None:
        """Return the last answer in a conversation, by its records; None after a day without one."""

    async def session_steps(self, *, owner: str, session: str) -> list[str]:
        """Return own ids of the latest whole answers in a conversation that can be rated, oldest first."""

    async def explored_usd(self, now: float) -> float:
        """Return the USD paid on that UTC day for answers that only exploration chose, by the records."""

    def ids_of(self, owner: str | None, *, since: float) -> AsyncIterator[list[str]]:
        """Yield, in batches, own ids of requests of `owner` (None: all) created at or after `since`; slow."""

    async def withdraw(self, own_ids: Sequence[str], sources: Sequence[Source]) -> list[Mapping[Source, int]]:
        """Withdraw the ratings by some sources; return the revision of each removal until it has been applied."""

    async def load(self, own_ids: Sequence[str]) -> list[LoggedRequest | None]:
        """Return the part of each request that is learned from; None if its record is missing."""

    async def pending_index(self, limit: int) -> dict[str, int]:
        """Return own ids that are to be indexed or shortened, oldest first, with their ratings' revisions (0: none)."""

    async def indexed(self, marks: Mapping[str, int]) -> list[str]:
        """Mark ids as indexed with the rating revision that was written; return those rated again, shorten the rest."""


class EventQueue(Protocol):
    """Stream of events with a consumer group: an event is redelivered until it is acknowledged."""

    async def prepare(self) -> None:
        """Create the stream and its consumer group, or find them."""

    async def wake(self) -> None:
        """Wake a learner. If the signal is lost, events wait for a second or two."""

    async def read(self, consumer: str, limit: int) -> list[Event]:
        """Return new events for `consumer`, without waiting."""

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[Event]:
        """Take over events that were delivered at least `idle_s` ago and not acknowledged."""

    async def bury(self, event: Event, reason: str) -> None:
        """Move an event to the dead-letter stream, atomically."""

    async def requeue(self, limit: int) -> int:
        """Move dead letters back to the stream; return how many."""

    async def dead(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers without pending events that have been idle for `idle_s`; return how many."""

    async def depth(self) -> QueueDepth:
        """Return the depth of the queue."""


class Outbox(Protocol):
    """Outbox: entries that `RequestLog` has stored and the history lacks. Reading does not remove them."""

    async def read(self, limit: int) -> list[Waiting]:
        """Return the oldest entries. Two readers may get the same ones."""

    async def done(self, entries: Sequence[Waiting]) -> None:
        """Remove entries; unknown ones are ignored."""

    async def depth(self) -> OutboxDepth:
        """Return the depth of the queue."""


class History(Protocol):
    """Permanent store of every request, decision, outcome and rating. Writes are idempotent."""

    async def prepare(self) -> None:
        """Migrate the tables to the current version; safe to run concurrently."""

    async def write(self, entries: Sequence[Waiting]) -> list[Waiting]:
        """Store entries; return those that the database refuses. All others are stored.

        A rating may come before its request. Of two with one revision the later stays, and the newest contribution.
        """

    def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[PastRequest]]:
        """Yield requests created at or after `since` (Unix s), oldest first, in batches."""

    async def count(self, *, since: float) -> int:
        """Return how many requests `read` will yield."""

    async def save_settings(self, settings_hash: str, content: Mapping[str, object]) -> None:
        """Store the settings behind a settings hash; JSON values only."""

    async def save_kinds(self, kinds: Kinds) -> None:
        """Store a snapshot of the kinds of prompt; only the newest few are kept."""

    async def kinds(self) -> Kinds | None:
        """Return the newest snapshot: that of the largest order."""

    def assignments(self, *, after: int, batch: int = 500) -> AsyncIterator[list[PastAssignment]]:
        """Yield assignments with an order larger than `after`, by order, in batches."""

    async def old_clusters(self) -> OldClusters | None:
        """Return the newest cluster centres that a version before kinds of prompt stored."""


class Restorer(Protocol):
    """Restores requests and sums from the history, while no other process writes."""

    async def is_empty(self) -> bool:
        """Whether nothing is known of any request and nothing has been learned."""

    async def clear(self) -> None:
        """Delete requests, their public ids and all sums; waiting events stay."""

    async def requests(self, past: Sequence[PastRequest]) -> None:
        """Store requests in the state that recording, rating and learning had left them in, oldest first."""

    async def sums(self, days: Mapping[tuple[ArmId, str], Mapping[str, int]]) -> None:
        """Replace the sums of arms and UTC days."""

    async def kinds(self, kinds: Kinds) -> None:
        """Replace the kinds of prompt."""


class Heartbeats(Protocol):
    """Heartbeats of learners, and gossip between gateways."""

    async def beat(self, worker: str, version: str, ttl_s: float) -> None:
        """Report `worker` as alive for `ttl_s` seconds."""

    async def alive(self) -> Mapping[str, str]:
        """Return the version of each live worker."""

    async def exchange(self, gateway: str, notice: Notice | None, ttl_s: float) -> Mapping[str, Notice]:
        """Replace the notice of `gateway` (None removes it); return those of other gateways of the last `ttl_s`."""


class ChatModel(Protocol):
    """Client of the upstream. Raises `UpstreamError`, never `DependencyError`."""

    async def complete(self, call: Call) -> Answer:
        """Return the answer. Raises UpstreamError."""

    def stream(self, call: Call) -> AbstractAsyncContextManager[AnswerStream]:
        """Open a stream; entering the context waits until the upstream has accepted it. Raises UpstreamError."""

    async def catalogue(self) -> tuple[Arm, ...]:
        """Return all models of the upstream with their prices. Raises UpstreamError."""
