"""Stored fields of sums: checked when they are read, weighted by recency, and added up over days.

Weights are rounded to multiples of 2^-40, so that all sums are of whole numbers: exact in any order, and a day that has
changed is taken out and put in again without touching the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from shared.bandit.decision import Group
from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.bandit.stored_fields import (
    BOUNDS,
    IN_BLOCKS,
    MAY_BE_NEGATIVE,
    NATURAL,
    OF_GROUPS,
    OF_SOURCES,
    SOURCE_BOUNDS,
    field_of,
)
from shared.bandit.sums import ArmSums, Block, GroupSums, IntSums, Scores, SourceSums, Sums
from shared.errors import CorruptState

_INTEGER = re.compile(rb"0|-?[1-9]\d{0,15}")  # at most 16 digits: exact in a float, far from Redis' own limit
_WEIGHT = 1 << 40
"""Steps of a weight."""
_OLD_NOISE_SD = 0.35
_SOURCES = frozenset(source.value for source in Source)


def parse_sums(fields: Mapping[bytes | str, bytes | str]) -> dict[str, int]:
    """Read one stored hash of sums.

    Fields of a newer version are left out, so that a learner may be deployed before the gateways.

    Raises:
        CorruptState: a value is no integer, a count is negative or a sum is larger than its count allows.
    """
    sums: dict[str, int] = {}
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for raw_name, raw_value in fields.items():
        field = field_of(raw_name)
        if field is None:
            continue
        digits = raw_value if isinstance(raw_value, bytes) else raw_value.encode("utf-8", "replace")
        if _INTEGER.fullmatch(digits) is None:
            raise CorruptState(f"{field.name} is not an integer in range")
        sums[field.name] = groups[field.suffix][field.base] = int(digits)
    for suffix, group in groups.items():
        _check(suffix, group, groups.get((suffix[0], ""), {}))
    return sums


def _check(suffix: tuple[str, str], group: Mapping[str, int], total: Mapping[str, int]) -> None:
    """Check the sums of one kind, one block or all requests against those of all requests. Raises CorruptState."""
    owner, restricted = suffix
    bounds, said = SOURCE_BOUNDS if owner in _SOURCES else BOUNDS, f":{owner}{restricted}" if owner else restricted
    for name, value in group.items():
        if value < 0 and name not in MAY_BE_NEGATIVE:
            raise CorruptState(f"{name}{said} is negative")
        if name in bounds:
            counts, most = bounds[name]
            if abs(value) > sum(group.get(count, 0) for count in counts) * most:
                raise CorruptState(f"{name}{said} is larger than {counts[0]}{said} allows")
        elif restricted and value > total.get(name, 0):
            raise CorruptState(f"{name}{said} is larger than {name}")


class _Day(NamedTuple):
    """One hash, its weight, and its blocks by kind, in order."""

    weight: float
    sums: IntSums
    blocks: Mapping[KindId | None, tuple[Block, ...]]


class WeightedDays:
    """Recency-weighted sums of one arm, of parsed hashes that may be replaced one by one."""

    def __init__(self) -> None:
        self._days: dict[Hashable, _Day] = {}
        self._totals: dict[tuple[KindId | None, Source | Group | None, str], int] = {}

    def replace(self, day: Hashable, weight: float, sums: IntSums) -> None:
        """Count a day in place of what was counted for it before."""
        self.remove(day)
        self._days[day] = _Day(weight, sums, _blocks(weight, sums))
        self._add(sums, round(weight * _WEIGHT))

    def remove(self, day: Hashable) -> None:
        """Count a day no more."""
        gone = self._days.pop(day, None)
        if gone is not None:
            self._add(gone.sums, -round(gone.weight * _WEIGHT))

    def _add(self, sums: IntSums, scale: int) -> None:
        totals = self._totals
        for name, value in sums.items():
            field = field_of(name)
            if field is not None and field.block is None:
                left = totals.get(field.part, 0) + scale * value
                if left:
                    totals[field.part] = left
                else:
                    totals.pop(field.part, None)

    @property
    def sums(self) -> ArmSums:
        """The sums of all days, bit for bit independent of the order in which they came."""
        grouped: dict[tuple[Source | Group | None, KindId | None], dict[str, float]] = defaultdict(dict)
        for (kind, owner, base), value in self._totals.items():
            attribute, units = _UNITS[type(owner)][base]
            grouped[owner, kind][attribute] = value / (units * _WEIGHT)
        blocks: dict[KindId | None, list[Block]] = defaultdict(list)
        for day in sorted(self._days.values(), key=lambda one: one.weight):
            for kind, some in day.blocks.items():
                blocks[kind] += some
        overall = tuple(blocks.pop(None, ()))
        return ArmSums(
            Sums(**grouped.pop((None, None), {})),
            {kind: Sums(**fields) for (owner, kind), fields in grouped.items() if owner is None and kind is not None},
            overall,
            {kind: tuple(some) for kind, some in blocks.items() if kind is not None},
            _by_source(grouped),
            {owner: GroupSums(**fields) for (owner, _), fields in grouped.items() if isinstance(owner, Group)},
        )


_UNITS: Mapping[type, Mapping[str, tuple[str, int]]] = {type(None): NATURAL, Source: OF_SOURCES, Group: OF_GROUPS}


def _by_source(
    grouped: Mapping[tuple[Source | Group | None, KindId | None], dict[str, float]],
) -> dict[Source, SourceSums]:
    totals: dict[Source, Scores] = {}
    kinds: dict[Source, dict[KindId, Scores]] = defaultdict(dict)
    for (owner, kind), fields in grouped.items():
        if isinstance(owner, Source):
            if kind is None:
                totals[owner] = Scores(**fields)
            else:
                kinds[owner][kind] = Scores(**fields)
    return {source: SourceSums(total, kinds[source]) for source, total in totals.items()}


def weighted_sums(days: Iterable[tuple[float, IntSums]]) -> ArmSums:
    """Return the weighted sum of parsed hashes."""
    weighted = WeightedDays()
    for at, (weight, sums) in enumerate(days):
        weighted.replace(at, weight, sums)
    return weighted.sums


def _blocks(weight: float, sums: IntSums) -> dict[KindId | None, tuple[Block, ...]]:
    blocks: dict[tuple[KindId | None, int], dict[str, float]] = defaultdict(dict)
    for name, value in sums.items():
        field = field_of(name)
        if field is not None and field.block is not None:
            attribute, units = IN_BLOCKS[field.base]
            blocks[field.part[0], field.block][attribute] = value / units
    by_kind: dict[KindId | None, list[Block]] = defaultdict(list)
    for (kind, block), fields in blocks.items():
        by_kind[kind].append(_block(weight, block, fields))
    return {kind: tuple(sorted(some, key=lambda one: one.number)) for kind, some in by_kind.items()}


def _block(weight: float, number: int, fields: Mapping[str, float]) -> Block:
    labels, score = fields.get("labels", 0.0), fields.get("score", 0.0)
    if "residual" in fields:
        return Block(weight, labels, score, fields["residual"] / _OLD_NOISE_SD, labels, number)
    return Block(weight, labels, score, fields.get("surprise", 0.0), fields.get("surprises", 0.0), number)
