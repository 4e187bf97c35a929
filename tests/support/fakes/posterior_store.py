"""`PosteriorStore` in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime

from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import IntSums, LearnedState, by_arm
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.history import Contribution, Waiting
from shared.schemas.storage import Applied, Effect
from tests.support.fakes.memory import Memory

_MOST = 10**15


class FakePosteriorStore:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None, *, recency_days: float = 30.0, history_bound: int = 0) -> None:
        self.memory = memory or Memory()
        self._history_bound = history_bound
        self._recency_days = recency_days

    async def load(self) -> LearnedState:
        self._here()
        today = datetime.fromtimestamp(self.memory.clock.now(), UTC).date()
        days: dict[str, list[tuple[float, IntSums]]] = defaultdict(list)
        version = self.memory.kinds.order if self.memory.kinds is not None else 0
        for (arm, day), sums in self.memory.sums.items():
            age_days = max((today - date.fromisoformat(day)).days, 0)
            weight = 0.5 ** (age_days / self._recency_days)
            if weight >= 1 / 256:
                days[arm].append((weight, parse_sums({name: str(value) for name, value in sums.items()})))
                version += self.memory.versions[arm, day]
        name = f"{version}.{today.isoformat()}" if version else "0"
        return LearnedState(name, {arm: weighted_sums(parts) for arm, parts in days.items()}, self.memory.kinds)

    async def apply(self, effects: Sequence[Effect]) -> list[Applied]:
        self._here()
        return [self._apply(effect) for effect in effects]

    def _apply(self, effect: Effect) -> Applied:
        event = effect.event
        story = self.memory.stories.get(event.request_id)
        if story is None or not story.is_recorded:
            return Applied.MISSING
        revision, old = story.ledger.get(event.ledger, (0, {}))
        if revision >= event.revision:
            self.memory.acknowledge(event.entry_id)
            return Applied.REPLAYED
        if any(not isinstance(value, int) or abs(value) >= _MOST for value in effect.sums.values()):
            return Applied.REFUSED
        before, after = by_arm(effect.arm, old), by_arm(effect.arm, effect.sums)
        for arm in before | after:
            key = (arm, utc_day(effect.created_at))
            sums = self.memory.sums.setdefault(key, Counter())
            sums.subtract(before.get(arm, {}))
            sums.update(after.get(arm, {}))
            self.memory.versions[key] += 1
        story.ledger[event.ledger] = (event.revision, dict(effect.sums))
        facts = (event.request_id, event.kind, event.revision, dict(effect.sums), story.assigned, event.source)
        contribution = Contribution(*facts)
        self.memory.remember(self._history_bound, Waiting("", event.request_id, contribution=contribution))
        settles = event.ledger == "feedback" or (event.ledger == "outcome" and (story.kept or not self._history_bound))
        if story.record is not None and settles:
            self.memory.unindexed.setdefault(event.request_id)
        self.memory.acknowledge(event.entry_id)
        return Applied.APPLIED

    async def forget_before(self, created_at: float) -> int:
        self._here()
        old = [key for key in self.memory.sums if key[1] < utc_day(created_at)]
        for key in old:
            del self.memory.sums[key], self.memory.versions[key]
        return len(old)

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
