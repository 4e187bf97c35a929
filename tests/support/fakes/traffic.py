"""`Traffic` in memory: computed from the stored requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.bandit.sources import Source
from shared.bandit.sums import MICRO
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.figures import figures_of, spend_of
from shared.schemas.records import RequestRecord
from shared.traffic import Figures
from tests.support.fakes.memory import Memory, Story


class FakeTraffic:
    """The contract, without Redis."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def store(self) -> None:
        if self._memory.away:
            raise DependencyError("redis", "away")

    async def minutes(self, first: int, number: int) -> list[Figures]:
        return [self._sum(60, first + at) for at in range(number)]

    async def hours(self, first: int, number: int) -> list[Figures]:
        return [self._sum(3600, first + at) for at in range(number)]

    async def spending(self, days: Sequence[str]) -> list[Figures]:
        found: list[Figures] = []
        for day in days:
            used: Counter[str] = Counter()
            for record, _ in self._recorded():
                if utc_day(record.created_at) == day:
                    used.update(spend_of(record))
            found.append(dict(used))
        return found

    def _sum(self, step_s: int, number: int) -> Figures:
        figures: Counter[str] = Counter()
        for record, story in self._recorded():
            if record.created_at // step_s == number:
                figures.update(figures_of(record))
                figures.update(_scores(story, record.outcome.arm))
        return dict(figures)

    def _recorded(self) -> list[tuple[RequestRecord, Story]]:
        if self._memory.away:
            raise DependencyError("redis", "away")
        return [(story.record, story) for story in self._memory.stories.values() if story.record is not None]


def _scores(story: Story, arm: str) -> dict[str, int]:
    scores = {source: story.score(source) for source in Source}
    if story.evaluation is not None:
        scores[Source.JUDGE] = story.evaluation.served_score
    figures = {}
    for source, score in scores.items():
        if score is not None:
            figures[f"scores:{source}|{arm}"] = 1
            figures[f"micro:{source}|{arm}"] = round(score * MICRO)
    return figures
