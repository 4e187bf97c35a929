"""Imported scores in `forget`: removes them from the learned sums, the index and the history.

What remains of an import is applied as a newer revision, which subtracts the older one. The scripts that do so look at
what was applied, so the command is idempotent and may be interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from services.learner.commands.forget import Selection
from services.learner.commands.import_scores import BATCH, ImportStores, Progress, apply_imports, is_applied
from services.learner.learning.imported import point_id
from shared.schemas.imports import StoredImport


async def forget_imports(selection: Selection, own_ids: Sequence[str], stores: ImportStores, progress: Progress) -> int:
    """Remove the selected scores; return how many. After DependencyError, run it again.

    Args:
        selection: by source, model of the answer and time of the score. Imports belong to no key.
        own_ids: of all imports.
        stores: where they are stored and counted.
        progress: called after each batch.
    """
    if selection.owner is not None or not own_ids:
        return 0
    await stores.index.prepare(await stores.embedder.model())
    scores = 0
    for start in range(0, len(own_ids), BATCH):
        loaded = await stores.imports.load(own_ids[start : start + BATCH])
        scores += await _forget(
            [one for one in loaded if one is not None and _selected(one, selection)], selection, stores
        )
        progress(min(start + BATCH, len(own_ids)), len(own_ids))
    return scores


def _selected(one: StoredImport, selection: Selection) -> bool:
    record = one.record
    return selection.source in (None, record.source) and record.created_at >= selection.since


async def _forget(imports: Sequence[StoredImport], selection: Selection, stores: ImportStores) -> int:
    """Remove scores of a batch. The contributions come last: until they are applied, all of it is done again."""
    gone, changed = list[str](), list[StoredImport]()
    for one in imports:
        removed = [arm for arm in one.record.answers if selection.arm in (None, arm)]
        left = {arm: answer for arm, answer in one.record.answers.items() if arm not in removed}
        remaining = structs.replace(one, record=structs.replace(one.record, answers=left))
        if removed or not is_applied(remaining):
            gone += [point_id(one.record.id, arm) for arm in removed]
            changed.append(remaining)
    await stores.index.delete(gone)
    if stores.history is not None:
        await stores.history.write(changed)
    await stores.imports.put([one.record for one in changed])
    await apply_imports(changed, stores.posteriors)
    return len(gone)
