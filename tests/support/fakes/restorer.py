"""`Restorer` in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared.bandit.arms import ArmId
from shared.bandit.kinds import Kinds
from shared.bandit.sources import Source
from shared.schemas.history import PastRating, PastRequest
from shared.schemas.records import Status
from tests.support.fakes.memory import Alias, Memory, Story
from tests.support.fakes.short_forms import short
from tests.support.values import replace


class FakeRestorer:
    """The contract, without Redis. Here nothing expires."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def is_empty(self) -> bool:
        return not self.memory.stories and not self.memory.sums

    async def clear(self) -> None:
        memory = self.memory
        memory.owners.clear()
        for kept in (memory.stories, memory.aliases, memory.sums, memory.versions, memory.unindexed):
            kept.clear()
        memory.kinds = None

    async def requests(self, past: Sequence[PastRequest]) -> None:
        for one in past:
            entry = one.entry
            story = self.memory.stories[entry.record.id] = Story(record=entry.record, indexed=True, kept=True)
            story.vector = None if one.revision_by(Source.USER) else short(entry.vector)
            for source in Source:
                if revision := one.revision_by(source):
                    rating = one.rating_by(source) or PastRating(entry.record.id, revision, None, None, 0.0, source)
                    story.ratings[source] = replace(rating, revision=revision)
            story.evaluation = one.evaluation
            story.assigned = one.assigned if one.assigned is not None and one.assigned.order else None
            story.ledger = {each.ledger: (each.revision, dict(each.sums)) for each in one.ledger}
            owner, public_id = entry.record.owner, entry.record.public_id
            held = self.memory.aliases.get((owner, public_id))
            if held is None or held.failed:
                failed = entry.record.outcome.status is Status.FAILED
                self.memory.aliases[owner, public_id] = Alias(entry.record.id, entry.record.created_at, failed)
            self.memory.owners.add(owner)

    async def sums(self, days: Mapping[tuple[ArmId, str], Mapping[str, int]]) -> None:
        for key, sums in days.items():
            self.memory.sums[key] = Counter(sums)
            self.memory.versions[key] += 1

    async def kinds(self, kinds: Kinds) -> None:
        self.memory.kinds = kinds
