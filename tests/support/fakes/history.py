"""`History` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from shared.bandit.kinds import Kinds
from shared.bandit.sources import Source
from shared.errors import DependencyError
from shared.schemas.evaluation import Evaluation
from shared.schemas.history import Contribution, OldClusters, PastAssignment, PastRating, PastRequest, Waiting
from shared.schemas.storage import NewRecord
from tests.support.values import replace


class FakeHistory:
    """The contract, without PostgreSQL. `away` set makes it raise DependencyError."""

    def __init__(self) -> None:
        self.away = False
        self.prepared = 0
        self.requests: dict[str, NewRecord] = {}
        self.ratings: dict[tuple[str, Source, int], PastRating] = {}
        self.ledger: dict[tuple[str, str], Contribution] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.settings: dict[str, Mapping[str, object]] = {}
        self.snapshots: dict[int, Kinds] = {}
        self.clusters: OldClusters | None = None

    async def prepare(self) -> None:
        self._here()
        self.prepared += 1

    async def write(self, entries: Sequence[Waiting]) -> list[Waiting]:
        self._here()
        refused = [entry for entry in entries if entry.request is not None and not _takes(entry.request)]
        for entry in entries:
            if entry.request is not None and entry not in refused:
                self.requests.setdefault(entry.request_id, entry.request)
            if entry.rating is not None:
                self._rate(entry.rating)
            if entry.contribution is not None:
                self._learn(entry.contribution)
            if entry.evaluation is not None:
                self.evaluations.setdefault(entry.request_id, entry.evaluation)
        return refused

    def _rate(self, rating: PastRating) -> None:
        key = (rating.request_id, rating.source, rating.revision)
        text = None if rating.text is None else _plain(rating.text)
        if key not in self.ratings or self.ratings[key].rated_at < rating.rated_at:
            self.ratings[key] = replace(rating, text=text)

    def _learn(self, contribution: Contribution) -> None:
        key = (contribution.request_id, contribution.ledger)
        if key not in self.ledger or self.ledger[key].revision <= contribution.revision:
            self.ledger[key] = contribution

    async def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[PastRequest]]:
        self._here()
        found = sorted(
            (entry for entry in self.requests.values() if entry.record.created_at >= since),
            key=lambda entry: (entry.record.created_at, entry.record.id),
        )
        for start in range(0, len(found), batch):
            yield [self._past(entry) for entry in found[start : start + batch]]

    def _past(self, entry: NewRecord) -> PastRequest:
        own_id = entry.record.id
        ratings = [rating for key, rating in sorted(self.ratings.items()) if key[0] == own_id]
        ratings.sort(key=lambda rating: rating.source is not Source.USER)
        ledger = tuple(each for key, each in sorted(self.ledger.items()) if key[0] == own_id)
        return PastRequest(entry, tuple(ratings), ledger, self.evaluations.get(own_id))

    async def count(self, *, since: float) -> int:
        self._here()
        return sum(entry.record.created_at >= since for entry in self.requests.values())

    async def save_settings(self, settings_hash: str, content: Mapping[str, object]) -> None:
        self._here()
        self.settings.setdefault(settings_hash, content)

    async def save_kinds(self, kinds: Kinds) -> None:
        self._here()
        self.snapshots.setdefault(kinds.order, kinds)
        for order in sorted(self.snapshots)[:-3]:
            del self.snapshots[order]

    async def kinds(self) -> Kinds | None:
        self._here()
        return self.snapshots[max(self.snapshots)] if self.snapshots else None

    async def assignments(self, *, after: int, batch: int = 500) -> AsyncIterator[list[PastAssignment]]:
        self._here()
        found: dict[int, PastAssignment] = {}
        for own_id, entry in sorted(self.requests.items()):
            assigned = next((each.assigned for each in self._past(entry).ledger if each.assigned is not None), None)
            if assigned is not None and assigned.order > after and entry.vector is not None:
                model = entry.record.embedding_model or ""
                past = PastAssignment(own_id, assigned, entry.vector, model, entry.record.traits)
                found.setdefault(assigned.order, past)
        in_order = [found[order] for order in sorted(found)]
        for start in range(0, len(in_order), batch):
            yield in_order[start : start + batch]

    async def old_clusters(self) -> OldClusters | None:
        self._here()
        return self.clusters

    def _here(self) -> None:
        if self.away:
            raise DependencyError("postgres", "away")


def _takes(entry: NewRecord) -> bool:
    outcome = entry.record.outcome
    return max(outcome.prompt_tokens, outcome.completion_tokens) < 2**63


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
