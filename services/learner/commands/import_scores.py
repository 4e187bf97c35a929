"""Command `import`: counts scores that answers to own prompts got outside of the router.

A prompt is embedded and assigned to a kind of prompt as requests are, and each of its answers becomes a point of the
index. Its id is made of its content: what was imported before is not counted again, and another score of the same
answer replaces the earlier one. An import that was interrupted is completed by repeating it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import orjson
from msgspec import structs

from services.learner.commands.score_file import ScoredAnswer
from services.learner.learning.assign_kinds import KindAssigner
from services.learner.learning.imported import import_points, import_sums
from services.learner.learning.retention import faded_before
from shared.bandit.arms import ArmId
from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.import_store import ImportHistory, ImportStore
from shared.ports import Clock, Embedder, PosteriorStore, RequestIndex
from shared.schemas.events import NO_ENTRY, Event, EventKind
from shared.schemas.imports import Import, ImportedAnswer, StoredImport
from shared.schemas.storage import Applied, Effect, EmbeddingModel
from shared.schemas.traits import traits_of

BATCH = 64
_NAMESPACE = uuid.UUID("6d1f9c1e-6f0c-4b53-9d0e-1b1f4a2f5c11")

Progress = Callable[[int, int], None]
"""Called with prompts done and prompts in all."""


@dataclass(frozen=True, slots=True, eq=False)
class ImportStores:
    """Where an import is stored and counted. `kinds` and `posteriors` work on the imports' own hashes.

    `history` is None without persistence.
    """

    imports: ImportStore
    kinds: KindAssigner
    posteriors: PosteriorStore
    index: RequestIndex
    embedder: Embedder
    clock: Clock
    history: ImportHistory | None = None


@dataclass(slots=True)
class Imported:
    """Counts: prompts imported, those known already, those too old to count, and scores by model."""

    prompts: int = 0
    known: int = 0
    too_old: int = 0
    scores: Counter[ArmId] = field(default_factory=Counter)


@dataclass(slots=True)
class _Prompt:
    """A prompt of the file, with all its answers."""

    text: str
    system: str
    scored_at: float | None
    answers: dict[ArmId, ImportedAnswer] = field(default_factory=dict)


async def import_scores(
    lines: Iterable[ScoredAnswer],
    stores: ImportStores,
    progress: Progress,
    *,
    source: Source,
    weight: float,
    recency_days: float,
) -> Imported:
    """Import scores. After DependencyError, run it again.

    Args:
        lines: of several scores of the same answer the last one counts.
        stores: where to store and count.
        progress: called after each batch.
        source: of the scores; not `user`.
        weight: weight of each score, 0 to 1.
        recency_days: half-life of the sums.
    """
    done, prompts = Imported(), _by_prompt(lines, source)
    model = await stores.embedder.model()
    await stores.index.prepare(model)
    await stores.kinds.prepare()
    since, waiting = faded_before(stores.clock.now(), recency_days), list(prompts.items())
    progress(0, len(waiting))
    for start in range(0, len(waiting), BATCH):
        some = waiting[start : start + BATCH]
        young = {own_id: prompt for own_id, prompt in some if prompt.scored_at is None or prompt.scored_at >= since}
        done.too_old += len(some) - len(young)
        await _import(young, model, stores, done, source=source, weight=weight)
        progress(start + len(some), len(waiting))
    return done


def _by_prompt(lines: Iterable[ScoredAnswer], source: Source) -> dict[str, _Prompt]:
    prompts: dict[str, _Prompt] = {}
    for line in lines:
        # Scores of another day are other observations; without a time there is one observation.
        day = None if line.scored_at is None else utc_day(line.scored_at)
        own_id = str(uuid.uuid5(_NAMESPACE, orjson.dumps([source, line.system, line.prompt, day]).decode()))
        prompt = prompts.setdefault(own_id, _Prompt(line.prompt, line.system, line.scored_at))
        prompt.answers[line.arm] = line.answer
    return prompts


async def _import(
    prompts: dict[str, _Prompt],
    model: EmbeddingModel,
    stores: ImportStores,
    done: Imported,
    *,
    source: Source,
    weight: float,
) -> None:
    """Import a batch. The contributions come last: until they are applied, the import counts as not done."""
    now, changed, texts = stores.clock.now(), list[StoredImport | None](), list[str]()
    for (own_id, prompt), stored in zip(prompts.items(), await stores.imports.load(list(prompts)), strict=True):
        new = StoredImport(
            Import(own_id, source, prompt.scored_at or now, model.id, weight, prompt.answers, _traits(prompt))
        )
        if stored is not None:
            answers = {**stored.record.answers, **prompt.answers}
            new = structs.replace(stored, record=structs.replace(stored.record, answers=answers, weight=weight))
        if is_applied(new):
            done.known += 1
        else:
            changed.append(new)
            texts.append(prompt.text)
            done.scores.update(prompt.answers.keys())
    vectors = await stores.embedder.embed(texts)
    waiting = [structs.replace(one, vector=row) for one, row in zip(changed, vectors, strict=True) if one is not None]
    await stores.imports.put([one.record for one in waiting])
    assigned = [one for one in await stores.kinds.assign(list(waiting)) if one is not None]
    if stores.history is not None:
        await stores.history.write([_in_history(one, model) for one in assigned])
    points = [point for one in assigned if one.vector is not None for point in import_points(one.record, one.vector)]
    await stores.index.upsert(points)
    await apply_imports(assigned, stores.posteriors)
    done.prompts += len(assigned)


def _in_history(one: StoredImport, model: EmbeddingModel) -> StoredImport:
    """Return what the history stores: the vector that the kind was found with, not one of a later embedding model."""
    return one if one.record.embedding_model == model.id else structs.replace(one, vector=None)


def _traits(prompt: _Prompt) -> tuple[str, ...]:
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return traits_of({"messages": messages}, prompt.text, frozenset())


def is_applied(one: StoredImport) -> bool:
    """Whether the contribution of an import is what its record says."""
    return one.sums == import_sums(one.record, one.kind)


async def apply_imports(imports: Sequence[StoredImport], posteriors: PosteriorStore) -> None:
    """Replace the contributions of imports by what their records say. Raises DependencyError where one is refused."""
    effects = []
    for one in imports:
        sums = import_sums(one.record, one.kind)
        event = Event(NO_ENTRY, EventKind.FEEDBACK, one.record.id, one.revision + 1)
        arm = next(iter(one.record.answers), "")
        effects.append(Effect(event=event, arm=arm, created_at=one.record.created_at, sums=sums))
    for applied in await posteriors.apply(effects):
        if applied is not Applied.APPLIED:
            raise DependencyError("redis", f"an import was {applied.value}: another import runs, or sums are damaged")
