"""Sufficient statistics: integer sums that commute, so that order, replay and rebuild cannot change them.

One hash in Redis holds the sums of one arm and one day. A request contributes twice: when it was answered (`outcome`:
cost, latency, failure) and when it is rated (`feedback`). Each contribution is a mapping of field to integer; a revised
rating first subtracts the old one. Units are in the names: `score_micro` is a sum of scores times 1e6.

Fields may be followed by `@<epoch>.<cluster>`: the same sum restricted to requests whose prompt fell into that cluster;
or by `~<block>`: restricted to requests decided when the arm had so many ratings (`change.py` looks for breaks there).

A request may have been tried on several arms. Its contribution stays one flat mapping: a field that belongs to another
arm than the one that answered is written `<field>|<arm>`, and `by_arm` takes them apart.
"""

from __future__ import annotations

import math
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.errors import CorruptState

MICRO = 1_000_000
NANO = 1_000_000_000

LABELS = "labels"
SCORE = "score_micro"
SCORE_SQ = "score_sq_micro"
GAIN = "local_gain_micro"
GAIN_SQ = "local_gain_sq_micro"
RESIDUAL = "residual_micro"
REQUESTS = "requests"
UNPRICED = "unpriced"
FAILURES = "failures"
COST = "cost_nanousd"
LATENCY = "latency_us"
PROMPT_TOKENS = "prompt_tokens"
COMPLETION_TOKENS = "completion_tokens"

IntSums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """Recency-weighted sums of one arm (or one of its clusters), in natural units.

    Attributes:
        labels: number of ratings.
        score: sum of ratings.
        score_sq: sum of squared ratings.
        gain: sum over ratings of how much better the local estimate predicted than the global one (squared error).
        gain_sq: sum of the squares of those gains.
        requests: number of answered requests.
        unpriced: those of them whose cost nobody knows; their cost and tokens are not in the sums below.
        failures: number of failed calls.
        cost_usd, latency_s, prompt_tokens, completion_tokens: sums over answered requests.
    """

    labels: float = 0.0
    score: float = 0.0
    score_sq: float = 0.0
    gain: float = 0.0
    gain_sq: float = 0.0
    requests: float = 0.0
    unpriced: float = 0.0
    failures: float = 0.0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0

    @property
    def priced(self) -> float:
        """Number of answered requests with a known cost: the denominator of a mean cost."""
        return max(self.requests - self.unpriced, 0.0)


@dataclass(frozen=True, slots=True)
class Block:
    """Successive ratings of one arm within a day, as counted; `weight` is what recency leaves of each.

    `score` is their sum, `residual` the sum of score minus what had been expected when the answer was chosen.
    """

    weight: float
    labels: float
    score: float
    residual: float


@dataclass(frozen=True, slots=True)
class ArmSums:
    """All sums of one arm.

    Its totals; by (epoch, cluster) the same restricted to a cluster; and its rated decisions in blocks, oldest first.
    """

    total: Sums = field(default_factory=Sums)
    clusters: Mapping[tuple[int, int], Sums] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Centroids:
    """Cluster centres of the traffic: `centres` is (M, d) float32, unit rows; `epoch` counts refits.

    `model` made the vectors ("" where nobody knows any more), `requests` is how many there were.
    """

    epoch: int
    centres: NDArray[np.float32]
    model: str = ""
    requests: int = 0

    def cluster_of(self, vector: NDArray[np.float32] | None) -> tuple[int, int] | None:
        """Return (epoch, cluster) of a prompt, or None where there is no vector of the right size."""
        if vector is None or vector.shape != self.centres.shape[1:]:
            return None
        return self.epoch, int((self.centres @ vector).argmax())


@dataclass(frozen=True, slots=True, eq=False)
class LearnedState:
    """Learned state as gateways read it: `version` changes whenever any sum does."""

    version: str
    arms: Mapping[ArmId, ArmSums]
    centroids: Centroids | None = None


NOTHING_LEARNED = LearnedState(version="0", arms={})


# -- from stored fields ----------------------------------------------------------------------------------------------

_FIELD = re.compile(r"([a-z_]+)(?:@(\d{1,9})\.(\d{1,9})|~(\d{1,4}))?")
_LETTERS = "_" + string.ascii_lowercase  # a field without them is its suffix
_INTEGER = re.compile(r"0|-?[1-9]\d{0,15}")  # at most 16 digits: exact in a float, far from Redis' own limit
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
    RESIDUAL: ("residual", MICRO),
}

_BLOCK_ATTRIBUTES = tuple(attribute for attribute, _ in _IN_BLOCKS.values())

_BOUNDS: tuple[tuple[str, str, int], ...] = (
    (SCORE, LABELS, MICRO),  # a score is at most 1
    (SCORE_SQ, LABELS, MICRO),
    (GAIN, LABELS, 16 * MICRO),  # estimates stay within a few units of [0, 1]
    (GAIN_SQ, LABELS, 256 * MICRO),
    (RESIDUAL, LABELS, 4 * MICRO),
    (UNPRICED, REQUESTS, 1),
    (COST, REQUESTS, 10_000 * NANO),  # no answer costs more than 10,000 USD,
    (LATENCY, REQUESTS, 86_400 * MICRO),  # takes more than a day
    (PROMPT_TOKENS, REQUESTS, 1_000_000_000),  # or has more than a milliard tokens
    (COMPLETION_TOKENS, REQUESTS, 1_000_000_000),
)
"""Sum, the count it belongs to, and the most that one request can add: beyond it the hash is damaged."""


def parse_sums(fields: Mapping[bytes | str, bytes | str]) -> dict[str, int]:
    """Read one stored hash of sums.

    Fields of a newer version are left out, so that a learner may be deployed before the gateways.

    Raises:
        CorruptState: a value is no integer, a count is negative or a sum is larger than its count allows.
    """
    sums: dict[str, int] = {}
    for raw_name, raw_value in fields.items():
        name, value = _text(raw_name), _text(raw_value)
        match = _FIELD.fullmatch(name)
        if match is None or match[1] not in (_IN_BLOCKS if match[4] else _NATURAL):
            continue
        if _INTEGER.fullmatch(value) is None:
            raise CorruptState(f"{name} is not an integer in range")
        sums[name] = int(value)
    _check(sums)
    return sums


def weighted_sums(days: Iterable[tuple[float, Mapping[str, int]]]) -> ArmSums:
    """Return the weighted sum of parsed hashes, bit for bit independent of the order of `days`."""
    parts: dict[str, list[float]] = defaultdict(list)
    blocks: dict[tuple[float, int], dict[str, float]] = defaultdict(lambda: dict.fromkeys(_BLOCK_ATTRIBUTES, 0.0))
    for weight, sums in days:
        for name, value in sums.items():
            base, _, block = name.partition("~")
            if block:
                attribute, units = _IN_BLOCKS[base]
                blocks[weight, int(block)][attribute] += value / units
            else:
                parts[name].append(weight * value)
    grouped: dict[tuple[int, int] | None, dict[str, float]] = defaultdict(dict)
    for name, values in parts.items():
        base, cluster = _split(name)
        attribute, units = _NATURAL[base]
        grouped[cluster][attribute] = math.fsum(values) / units
    total = Sums(**grouped.pop(None, {}))
    return ArmSums(
        total,
        {cluster: Sums(**values) for cluster, values in grouped.items() if cluster is not None},
        tuple(Block(weight, **values) for (weight, _), values in sorted(blocks.items())),
    )


def by_arm(arm: ArmId, contribution: Mapping[str, int]) -> dict[ArmId, dict[str, int]]:
    """Split a contribution by arm; fields without a name belong to `arm`."""
    parts: dict[ArmId, dict[str, int]] = defaultdict(dict)
    for name, value in contribution.items():
        base, _, other = name.partition("|")
        parts[other or arm][base] = value
    return dict(parts)


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _split(name: str) -> tuple[str, tuple[int, int] | None]:
    base, at, cluster = name.partition("@")
    if not at:
        return base, None
    epoch, _, index = cluster.partition(".")
    return base, (int(epoch), int(index))


def _check(sums: Mapping[str, int]) -> None:
    for name, value in sums.items():
        if value < 0 and not name.startswith((GAIN, RESIDUAL)):
            raise CorruptState(f"{name} is negative")
    for at in {name.lstrip(_LETTERS) for name in sums}:
        for name, count, most in _BOUNDS:
            if abs(sums.get(name + at, 0)) > sums.get(count + at, 0) * most:
                raise CorruptState(f"{name}{at} is larger than {count}{at} allows")
        for count in (LABELS, REQUESTS):
            if sums.get(count + at, 0) > sums.get(count, 0):
                raise CorruptState(f"{count}{at} is larger than {count}")
