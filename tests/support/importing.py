"""An installation to import scores into: real Redis, and fakes of embedder, index and history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.learner.commands.import_scores import Imported, ImportStores, import_scores
from services.learner.commands.score_file import ScoredAnswer
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums
from shared.schemas.imports import ImportedAnswer
from tests.support.assigning import a_kind_assigner
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.import_history import FakeImportHistory
from tests.support.fakes.request_index import FakeRequestIndex
from tests.support.redis_rig import RECENCY_DAYS, Rig

DAY_S = 86_400.0
ARMS = ("v/a", "v/b", "w/c")


@dataclass
class World:
    """One installation."""

    rig: Rig
    url: str
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    index: FakeRequestIndex = field(default_factory=FakeRequestIndex)
    history: FakeImportHistory = field(default_factory=FakeImportHistory)
    steps: list[tuple[int, int]] = field(default_factory=list)

    async def stores(self) -> ImportStores:
        """Return the stores of one import, as a new process has them."""
        rig, model = self.rig, await self.embedder.model()
        kinds = a_kind_assigner(rig.import_kinds, rig.imports, rig.clock, model=model)
        posteriors, clock = rig.import_posteriors, rig.clock
        return ImportStores(rig.imports, kinds, posteriors, self.index, self.embedder, clock, self.history)

    async def run(self, lines: Sequence[ScoredAnswer], source: Source = Source.EVAL, weight: float = 0.5) -> Imported:
        return await import_scores(
            lines, await self.stores(), lambda *step: self.steps.append(step), source=source, weight=weight,
            recency_days=RECENCY_DAYS,
        )  # fmt: skip

    async def learned(self) -> dict[str, ArmSums]:
        return dict((await self.rig.posteriors.load()).arms)

    @property
    def points(self) -> dict[str, Any]:
        """Every point by id."""
        (points,) = self.index.points.values()
        return points


def lines(number: int, score: float = 0.5, scored_at: float | None = None) -> list[ScoredAnswer]:
    """So many prompts, each answered by every arm; the first arm answers best."""
    topics = ("write python code for", "cook a soup of", "translate into french:")
    return [
        ScoredAnswer(
            f"{topics[at % 3]} number {at}", "", arm, ImportedAnswer(1.0 if arm == "v/a" else score), scored_at
        )
        for at in range(number)
        for arm in ARMS
    ]
