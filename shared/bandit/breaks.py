"""Evidence on arms that have become worse: what is left of it, by arm and kind of prompt.

Each arm is watched over all prompts, and in each region: a kind of prompt with the kinds that are similar to it.

A new topic may be taken for a known one, and is no evidence that an arm has become worse everywhere. The fall of an arm
is general, and changes what is believed of it on all prompts, only where it is seen in regions that had more than 20
ratings of it before, and with any one region left out. A fall in one region alone is counted there. The unknown kind is
no region, so that without vectors every fall is general.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.bandit.change import ALARM, ENOUGH_LABELS, cumulative, decrease, find_break
from shared.bandit.evidence import SourceCells
from shared.bandit.kinds import KindId, Kinds
from shared.bandit.mixed import Cells
from shared.bandit.sums import ArmSums, Block

Floats = NDArray[np.float64]
T = TypeVar("T")

REGION = 0.5
"""Similarity of kinds (`kinship.py`) from which on they are of one region."""


def in_rows(by_id: Mapping[KindId, T], kinds: Kinds) -> list[tuple[int, T]]:
    """Return each entry with the row of its kind; entries of another generation are of no kind."""
    rows = {kind: row for row, kind in enumerate(kinds.ids)}
    current = ((kind, each) for (generation, kind), each in by_id.items() if generation == kinds.generation)
    placed = [(rows.get(kinds.root(kind)), each) for kind, each in current]
    return [(row, each) for row, each in placed if row is not None]


def scaled(cells: SourceCells, left: Floats) -> SourceCells:
    """Return the scores with the share `left`, (K, C), of their weight."""
    labels = left * cells.labels
    before = cells.labels.sum(axis=1)
    share = np.divide(labels.sum(axis=1), before, out=np.ones_like(before), where=before > 0)
    return replace(cells, labels=labels, scores=left * cells.scores, squares=share * cells.squares)


def since_breaks(cells: Cells, learned: Sequence[ArmSums], kinds: Kinds | None) -> tuple[Cells, Floats]:
    """Return the cells with what is left of the evidence on arms that have become worse, and the share that is left."""
    ratings = cells.ratings
    left, kept = np.ones_like(ratings.labels), np.ones(len(learned))
    scores, squares = ratings.scores.copy(), ratings.squares.copy()
    similar = cells.kernel[1:, 1:] >= REGION
    for i, one in enumerate(learned):
        by_row = _blocks_by_row(one, kinds)
        decreases, before = _by_kind(one.blocks, by_row, ratings.labels[i, 1:])
        n, total = float(ratings.labels[i].sum()), float(scores[i].sum())
        found = find_break(one.blocks, n, total, _general(one.blocks, decreases, before, similar))
        if found is not None:
            squares[i] += 2 * found.shift * total + found.shift**2 * n
            scores[i] += found.shift * ratings.labels[i]
            left[i] = kept[i] = found.kept
            continue
        for row in np.flatnonzero((cumulative(similar @ decreases) > ALARM).any(axis=1)):
            here = similar[row]
            blocks = _together([block for other, block in by_row if here[other]])
            found = find_break(blocks, float(ratings.labels[i, 1:][here].sum()), float(scores[i, 1:][here].sum()))
            if found is not None:
                left[i, 1:][here] = np.minimum(left[i, 1:][here], found.kept)
    if (left == 1.0).all():
        return cells, kept
    moved = scaled(replace(ratings, scores=scores, squares=squares), left)
    return replace(cells, ratings=moved, others=tuple(scaled(one, left) for one in cells.others)), kept


def _blocks_by_row(one: ArmSums, kinds: Kinds | None) -> list[tuple[int, Block]]:
    """Return an arm's blocks in each kind with the kind's row; those of merged kinds are among them."""
    if kinds is None:
        return []
    return [(row, block) for row, blocks in in_rows(one.kind_blocks, kinds) for block in blocks]


def _by_kind(blocks: Sequence[Block], by_row: Sequence[tuple[int, Block]], labels: Floats) -> tuple[Floats, Floats]:
    """Return what each kind adds to the cumulative sum with each block, and its ratings of before the block, (M, B)."""
    at = {(block.weight, block.number): i for i, block in enumerate(blocks)}
    decreases, since = np.zeros((2, len(labels), len(blocks)))
    for row, block in by_row:
        if (i := at.get((block.weight, block.number))) is not None:
            decreases[row, i] += decrease(block)
            since[row, i] += block.weight * block.labels
    return decreases, labels[:, None] - np.cumsum(since[:, ::-1], axis=1)[:, ::-1]


def _general(blocks: Sequence[Block], decreases: Floats, before: Floats, similar: NDArray[np.bool_]) -> Floats:
    """Return what is evidence of a general fall with each block, (1 + M, B): all of it, and without one region each."""
    known = similar @ before > ENOUGH_LABELS
    whole = np.array([decrease(block) for block in blocks]) - np.where(known, 0.0, decreases).sum(axis=0)
    return np.vstack((whole, whole - similar @ np.where(known, decreases, 0.0)))


def _together(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks of several kinds as those of one, oldest first."""
    found: dict[tuple[float, int], Block] = {}
    for block in blocks:
        other = found.get(key := (block.weight, block.number))
        found[key] = block if other is None else _sum(block, other)
    return [found[key] for key in sorted(found)]


def _sum(one: Block, other: Block) -> Block:
    return Block(
        one.weight,
        one.labels + other.labels,
        one.score + other.score,
        one.surprise + other.surprise,
        one.surprises + other.surprises,
        one.number,
    )
