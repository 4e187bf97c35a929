"""Stored fields of sums: checked when they are read, weighted by recency, and added up over days.

Weights are rounded to multiples of 2^-40, so that all sums are of whole numbers: exact in any order, and a day that has
changed is taken out and put in again without touching the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.bandit.sums import (
    COMPLETION_TOKENS,
    COST,
    FAILURES,
    GAIN,
    GAIN_SQ,
    LABELS,
    LABELS_MILLI,
    LATENCY,
    MICRO,
    NANO,
    PROMPT_TOKENS,
    REQUESTS,
    RESIDUAL,
    SCORE,
    SCORE_SQ,
    SHADOWS,
    SURPRISE,
    SURPRISES,
    UNPRICED,
    ArmSums,
    Block,
    IntSums,
    Scores,
    SourceSums,
    Sums,
)
from shared.errors import CorruptState

_FIELD = re.compile(r"([a-z_]+)(?::([a-z]+))?((?:@(\d{1,9})\.(\d{1,9}))?(?:~(\d{1,4}))?)")
_INTEGER = re.compile(rb"0|-?[1-9]\d{0,15}")  # at most 16 digits: exact in a float, far from Redis' own limit
_WEIGHT = 1 << 40
"""Steps of a weight."""

_NATURAL: Mapping[str, tuple[str, int]] = {
    LABELS: ("labels", 1),
    SCORE: ("score", MICRO),
    SCORE_SQ: ("score_sq", MICRO),
    GAIN: ("gain", MICRO),
    GAIN_SQ: ("gain_sq", MICRO),
    REQUESTS: ("requests", 1),
    SHADOWS: ("shadows", 1),
    UNPRICED: ("unpriced", 1),
    FAILURES: ("failures", 1),
    COST: ("cost_usd", NANO),
    LATENCY: ("latency_s", MICRO),
    PROMPT_TOKENS: ("prompt_tokens", 1),
    COMPLETION_TOKENS: ("completion_tokens", 1),
}
"""Stored field to the attribute of `Sums` and the stored units in one natural unit."""

_OF_SOURCES: Mapping[str, tuple[str, int]] = {
    LABELS_MILLI: ("labels", 1000),
    SCORE: ("score", MICRO),
    SCORE_SQ: ("score_sq", MICRO),
}
"""The same for fields of a source other than users, to the attribute of `Scores`."""

_IN_BLOCKS: Mapping[str, tuple[str, int]] = {
    LABELS: ("labels", 1),
    SCORE: ("score", MICRO),
    SURPRISE: ("surprise", MICRO),
    SURPRISES: ("surprises", 1),
    RESIDUAL: ("residual", MICRO),
}

_SOURCES = frozenset(source.value for source in Source) - {Source.USER}
_OLD_NOISE_SD = 0.35

_ANSWERS = (REQUESTS, SHADOWS)
_BOUNDS: Mapping[str, tuple[tuple[str, ...], int]] = {
    SCORE: ((LABELS,), MICRO),  # a score is at most 1
    SCORE_SQ: ((LABELS,), MICRO),
    GAIN: ((LABELS,), 16 * MICRO),  # estimates stay within a few units of [0, 1]
    GAIN_SQ: ((LABELS,), 256 * MICRO),
    RESIDUAL: ((LABELS,), 4 * MICRO),
    SURPRISES: ((LABELS,), 1),
    SURPRISE: ((SURPRISES,), 2 * MICRO),  # `LARGEST_SURPRISE`
    UNPRICED: (_ANSWERS, 1),
    COST: (_ANSWERS, 10_000 * NANO),  # no answer costs more than 10,000 USD,
    LATENCY: (_ANSWERS, 86_400 * MICRO),  # takes more than a day
    PROMPT_TOKENS: (_ANSWERS, 1_000_000_000),  # or has more than a milliard tokens
    COMPLETION_TOKENS: (_ANSWERS, 1_000_000_000),
}
"""Sum to the counts it belongs to, and the most that one of them can add: beyond it the hash is damaged."""

_SOURCE_BOUNDS: Mapping[str, tuple[tuple[str, ...], int]] = {
    SCORE: ((LABELS_MILLI,), MICRO // 1000),
    SCORE_SQ: ((LABELS_MILLI,), MICRO // 1000),
}
_MAY_BE_NEGATIVE = frozenset({GAIN, RESIDUAL, SURPRISE})


class _Field(NamedTuple):
    """A field: its name; base name; what restricts it, as text; the kind, source and base name; its block."""

    name: str
    base: str
    suffix: tuple[str, str]
    part: tuple[KindId | None, Source | None, str]
    block: int | None


@lru_cache(maxsize=65_536)
def _field(raw: bytes | str) -> _Field | None:
    """Return what a stored name means; None for one of a newer version."""
    name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    match = _FIELD.fullmatch(name)
    if match is None:
        return None
    base, of, restricted, *kind, block = match.groups()
    if of is not None:
        if base not in _OF_SOURCES or of not in _SOURCES or block:
            return None
    elif base not in (_IN_BLOCKS if block else _NATURAL):
        return None
    kind_id = (int(kind[0]), int(kind[1])) if kind[0] else None
    source = None if of is None else Source(of)
    return _Field(name, base, (of or "", restricted), (kind_id, source, base), int(block) if block else None)


def parse_sums(fields: Mapping[bytes | str, bytes | str]) -> dict[str, int]:
    """Read one stored hash of sums.

    Fields of a newer version are left out, so that a learner may be deployed before the gateways.

    Raises:
        CorruptState: a value is no integer, a count is negative or a sum is larger than its count allows.
    """
    sums: dict[str, int] = {}
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for raw_name, raw_value in fields.items():
        field = _field(raw_name)
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
    source, restricted = suffix
    bounds, said = (_SOURCE_BOUNDS, f":{source}{restricted}") if source else (_BOUNDS, restricted)
    for name, value in group.items():
        if value < 0 and name not in _MAY_BE_NEGATIVE:
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
        self._totals: dict[tuple[KindId | None, Source | None, str], int] = {}

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
            field = _field(name)
            if field is not None and field.block is None:
                left = totals.get(field.part, 0) + scale * value
                if left:
                    totals[field.part] = left
                else:
                    totals.pop(field.part, None)

    @property
    def sums(self) -> ArmSums:
        """The sums of all days, bit for bit independent of the order in which they came."""
        grouped: dict[tuple[Source | None, KindId | None], dict[str, float]] = defaultdict(dict)
        for (kind, source, base), value in self._totals.items():
            attribute, units = (_NATURAL if source is None else _OF_SOURCES)[base]
            grouped[source, kind][attribute] = value / (units * _WEIGHT)
        blocks: dict[KindId | None, list[Block]] = defaultdict(list)
        for day in sorted(self._days.values(), key=lambda one: one.weight):
            for kind, some in day.blocks.items():
                blocks[kind] += some
        overall = tuple(blocks.pop(None, ()))
        return ArmSums(
            Sums(**grouped.pop((None, None), {})),
            {kind: Sums(**fields) for (source, kind), fields in grouped.items() if source is None and kind is not None},
            overall,
            {kind: tuple(some) for kind, some in blocks.items() if kind is not None},
            _by_source(grouped),
        )


def _by_source(grouped: Mapping[tuple[Source | None, KindId | None], dict[str, float]]) -> dict[Source, SourceSums]:
    totals: dict[Source, Scores] = {}
    kinds: dict[Source, dict[KindId, Scores]] = defaultdict(dict)
    for (source, kind), fields in grouped.items():
        if source is not None and kind is None:
            totals[source] = Scores(**fields)
        elif source is not None and kind is not None:
            kinds[source][kind] = Scores(**fields)
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
        field = _field(name)
        if field is not None and field.block is not None:
            attribute, units = _IN_BLOCKS[field.base]
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
