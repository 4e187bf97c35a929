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
from shared.bandit.sums import (
    COMPLETION_TOKENS,
    COST,
    FAILURES,
    GAIN,
    GAIN_SQ,
    LABELS,
    LATENCY,
    MICRO,
    NANO,
    PROMPT_TOKENS,
    REQUESTS,
    RESIDUAL,
    SCORE,
    SCORE_SQ,
    SURPRISE,
    SURPRISES,
    UNPRICED,
    ArmSums,
    Block,
    IntSums,
    Sums,
)
from shared.errors import CorruptState

_FIELD = re.compile(r"([a-z_]+)((?:@(\d{1,9})\.(\d{1,9}))?(?:~(\d{1,4}))?)")
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
    UNPRICED: ("unpriced", 1),
    FAILURES: ("failures", 1),
    COST: ("cost_usd", NANO),
    LATENCY: ("latency_s", MICRO),
    PROMPT_TOKENS: ("prompt_tokens", 1),
    COMPLETION_TOKENS: ("completion_tokens", 1),
}
"""Stored field to the attribute of `Sums` and the stored units in one natural unit."""

_IN_BLOCKS: Mapping[str, tuple[str, int]] = {
    LABELS: ("labels", 1),
    SCORE: ("score", MICRO),
    SURPRISE: ("surprise", MICRO),
    SURPRISES: ("surprises", 1),
    RESIDUAL: ("residual", MICRO),
}

_OLD_NOISE_SD = 0.35

_BOUNDS: tuple[tuple[str, str, int], ...] = (
    (SCORE, LABELS, MICRO),  # a score is at most 1
    (SCORE_SQ, LABELS, MICRO),
    (GAIN, LABELS, 16 * MICRO),  # estimates stay within a few units of [0, 1]
    (GAIN_SQ, LABELS, 256 * MICRO),
    (RESIDUAL, LABELS, 4 * MICRO),
    (SURPRISES, LABELS, 1),
    (SURPRISE, SURPRISES, 2 * MICRO),  # `LARGEST_SURPRISE`
    (UNPRICED, REQUESTS, 1),
    (COST, REQUESTS, 10_000 * NANO),  # no answer costs more than 10,000 USD,
    (LATENCY, REQUESTS, 86_400 * MICRO),  # takes more than a day
    (PROMPT_TOKENS, REQUESTS, 1_000_000_000),  # or has more than a milliard tokens
    (COMPLETION_TOKENS, REQUESTS, 1_000_000_000),
)
"""Sum, the count it belongs to, and the most that one request can add: beyond it the hash is damaged."""

_MAY_BE_NEGATIVE = frozenset({GAIN, RESIDUAL, SURPRISE})
_COUNTED_BY = {name: (count, most) for name, count, most in _BOUNDS}


class _Field(NamedTuple):
    """A field: its name; what that consists of; its kind of prompt and base name; its block."""

    name: str
    base: str
    suffix: str
    part: tuple[KindId | None, str]
    block: int | None


@lru_cache(maxsize=65_536)
def _field(raw: bytes | str) -> _Field | None:
    """Return what a stored name means; None for one of a newer version."""
    name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    match = _FIELD.fullmatch(name)
    if match is None or match[1] not in (_IN_BLOCKS if match[5] else _NATURAL):
        return None
    kind = (int(match[3]), int(match[4])) if match[3] else None
    return _Field(name, match[1], match[2], (kind, match[1]), int(match[5]) if match[5] else None)


def parse_sums(fields: Mapping[bytes | str, bytes | str]) -> dict[str, int]:
    """Read one stored hash of sums.

    Fields of a newer version are left out, so that a learner may be deployed before the gateways.

    Raises:
        CorruptState: a value is no integer, a count is negative or a sum is larger than its count allows.
    """
    sums: dict[str, int] = {}
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for raw_name, raw_value in fields.items():
        field = _field(raw_name)
        if field is None:
            continue
        digits = raw_value if isinstance(raw_value, bytes) else raw_value.encode("utf-8", "replace")
        if _INTEGER.fullmatch(digits) is None:
            raise CorruptState(f"{field.name} is not an integer in range")
        sums[field.name] = groups[field.suffix][field.base] = int(digits)
    for suffix, group in groups.items():
        _check(suffix, group, sums)
    return sums


def _check(suffix: str, group: Mapping[str, int], sums: Mapping[str, int]) -> None:
    """Check the sums of one kind, one block or all requests. Raises CorruptState."""
    for name, value in group.items():
        if value < 0 and name not in _MAY_BE_NEGATIVE:
            raise CorruptState(f"{name}{suffix} is negative")
        count, most = _COUNTED_BY.get(name, ("", 0))
        if count and abs(value) > group.get(count, 0) * most:
            raise CorruptState(f"{name}{suffix} is larger than {count}{suffix} allows")
        if suffix and name in (LABELS, REQUESTS) and value > sums.get(name, 0):
            raise CorruptState(f"{name}{suffix} is larger than {name}")


class _Day(NamedTuple):
    """One hash, its weight, and its blocks by kind, in order."""

    weight: float
    sums: IntSums
    blocks: Mapping[KindId | None, tuple[Block, ...]]


class WeightedDays:
    """Recency-weighted sums of one arm, of parsed hashes that may be replaced one by one."""

    def __init__(self) -> None:
        self._days: dict[Hashable, _Day] = {}
        self._totals: dict[tuple[KindId | None, str], int] = {}

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
        grouped: dict[KindId | None, dict[str, float]] = defaultdict(dict)
        for (kind, base), value in self._totals.items():
            attribute, units = _NATURAL[base]
            grouped[kind][attribute] = value / (units * _WEIGHT)
        total = Sums(**grouped.pop(None, {}))
        blocks: dict[KindId | None, list[Block]] = defaultdict(list)
        for day in sorted(self._days.values(), key=lambda one: one.weight):
            for kind, some in day.blocks.items():
                blocks[kind] += some
        overall = tuple(blocks.pop(None, ()))
        return ArmSums(
            total, {kind: Sums(**fields) for kind, fields in grouped.items() if kind is not None}, overall,
            {kind: tuple(some) for kind, some in blocks.items() if kind is not None},
        )  # fmt: skip


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
