"""`History` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from shared.bandit.sums import Centroids
from shared.errors import DependencyError
from shared.schemas.events import EventKind
from shared.schemas.history import Contribution, PastRating, PastRequest, Waiting
from shared.schemas.storage import NewRecord
from tests.support.values import replace


class FakeHistory:
    """The contract, without PostgreSQL. `away` set makes it raise DependencyError."""

    def __init__(self) -> None:
        self.away = False
        self.prepared = 0
        self.requests: dict[str, NewRecord] = {}
        self.ratings: dict[tuple[str, int], PastRating] = {}
        self.ledger: dict[tuple[str, EventKind], Contribution] = {}
        self.settings: dict[str, Mapping[str, object]] = {}
        self.epochs: dict[int, Centroids] = {}

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
        return refused

    def _rate(self, rating: PastRating) -> None:
        key = (rating.request_id, rating.revision)
        text = None if rating.text is None else _plain(rating.text)
        if key not in self.ratings or self.ratings[key].rated_at < rating.rated_at:
            self.ratings[key] = replace(rating, text=text)

    def _learn(self, contribution: Contribution) -> None:
        key = (contribution.request_id, contribution.kind)
        if key not in self.ledger or self.ledger[key].age < contribution.age:
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
        ratings = tuple(rating for key, rating in sorted(self.ratings.items()) if key[0] == entry.record.id)
        kinds = (EventKind.FEEDBACK, EventKind.OUTCOME)
        ledger = [self.ledger.get((entry.record.id, kind)) for kind in kinds]
        return PastRequest(entry, ratings, tuple(each for each in ledger if each is not None))

    async def count(self, *, since: float) -> int:
        self._here()
        return sum(entry.record.created_at >= since for entry in self.requests.values())

    async def save_settings(self, settings_hash: str, content: Mapping[str, object]) -> None:
        self._here()
        self.settings.setdefault(settings_hash, content)

    async def save_centroids(self, centroids: Centroids) -> None:
        self._here()
        self.epochs.pop(centroids.epoch, None)
        self.epochs[centroids.epoch] = centroids

    async def centroids(self) -> Centroids | None:
        self._here()
        return list(self.epochs.values())[-1] if self.epochs else None

    def _here(self) -> None:
        if self.away:
            raise DependencyError("postgres", "away")


def _takes(entry: NewRecord) -> bool:
    outcome = entry.record.outcome
    return max(outcome.prompt_tokens, outcome.completion_tokens) < 2**63


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
