"""Sufficient statistics: integer sums that commute, so that order, replay and rebuild cannot change them.

One hash in Redis holds the sums of one arm and one day. A request contributes twice: when it was answered (`outcome`:
cost, latency, failure) and when it is rated (`feedback`). Each contribution is a mapping of field to integer; a revised
rating first subtracts the old one. Units are in the names: `score_micro` is a sum of scores times 1e6.

Fields may be followed by `@<generation>.<kind>`: the same sum restricted to requests of that kind of prompt
(`kinds.py`); by `~<block>`: restricted to requests decided when the arm had so many ratings (`change.py` looks for
breaks there); or by both.

A request may have been tried on several arms. Its contribution stays one flat mapping: a field that belongs to another
arm than the one that answered is written `<field>|<arm>`, and `by_arm` takes them apart.
"""

from __future__ import annotations

import math
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field

from shared.bandit.arms import ArmId
from shared.bandit.kinds import KindId, Kinds
from shared.errors import CorruptState

MICRO = 1_000_000
NANO = 1_000_000_000

LABELS = "labels"
SCORE = "score_micro"
SCORE_SQ = "score_sq_micro"
GAIN = "local_gain_micro"
GAIN_SQ = "local_gain_sq_micro"
SURPRISE = "surprise_micro"
SURPRISES = "surprises"
RESIDUAL = "residual_micro"
"""Written until 2026: the residual in units of the score, of every rating; read as a surprise of `_OLD_NOISE_SD`."""
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
    """Recency-weighted sums of one arm (or of one kind of its prompts), in natural units.

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

    def __add__(self, other: Sums) -> Sums:
        """Return the sums of both together."""
        return Sums(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Block:
    """Successive ratings of one arm within a day, as counted; `weight` is what recency leaves of each.

    `score` is their sum. `surprises` of them could be predicted well enough to be a test of the prediction; `surprise`
    is the sum, over these, of (score - prediction) / sd of the prediction.
    """

    weight: float
    labels: float
    score: float
    surprise: float
    surprises: float


@dataclass(frozen=True, slots=True)
class ArmSums:
    """All sums of one arm.

    Its totals; by (generation, kind) the same restricted to a kind of prompt; and its rated decisions in blocks, oldest
    first, over all prompts and by kind.
    """

    total: Sums = field(default_factory=Sums)
    kinds: Mapping[KindId, Sums] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    kind_blocks: Mapping[KindId, tuple[Block, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedState:
    """Learned state as gateways read it: `version` changes whenever any sum does."""

    version: str
    arms: Mapping[ArmId, ArmSums]
    kinds: Kinds | None = None


NOTHING_LEARNED = LearnedState(version="0", arms={})


# -- from stored fields ----------------------------------------------------------------------------------------------

_FIELD = re.compile(r"([a-z_]+)(?:@(\d{1,9})\.(\d{1,9}))?(?:~(\d{1,4}))?")
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
    (SURPRISE, SURPRISES, 1000 * MICRO),  # a noise of .01 at the least, and estimates within a few units of [0, 1]
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
    parts: dict[tuple[KindId | None, str], list[float]] = defaultdict(list)
    blocks: dict[KindId | None, dict[tuple[float, int], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for weight, sums in days:
        for name, value in sums.items():
            base, kind, block = _split(name)
            if block is None:
                parts[kind, base].append(weight * value)
            else:
                attribute, units = _IN_BLOCKS[base]
                blocks[kind][weight, block][attribute] = value / units
    grouped: dict[KindId | None, dict[str, float]] = defaultdict(dict)
    for (kind, base), values in parts.items():
        attribute, units = _NATURAL[base]
        grouped[kind][attribute] = math.fsum(values) / units
    total = Sums(**grouped.pop(None, {}))
    in_order = {
        kind: tuple(_block(weight, fields) for (weight, _), fields in sorted(some.items(), key=lambda one: one[0]))
        for kind, some in blocks.items()
    }
    overall = in_order.pop(None, ())
    return ArmSums(
        total, {kind: Sums(**fields) for kind, fields in grouped.items() if kind is not None}, overall,
        {kind: some for kind, some in in_order.items() if kind is not None},
    )  # fmt: skip


def _block(weight: float, fields: Mapping[str, float]) -> Block:
    labels, score = fields.get("labels", 0.0), fields.get("score", 0.0)
    if "residual" in fields:
        return Block(weight, labels, score, fields["residual"] / _OLD_NOISE_SD, labels)
    return Block(weight, labels, score, fields.get("surprise", 0.0), fields.get("surprises", 0.0))


def by_arm(arm: ArmId, contribution: Mapping[str, int]) -> dict[ArmId, dict[str, int]]:
    """Split a contribution by arm; fields without a name belong to `arm`."""
    parts: dict[ArmId, dict[str, int]] = defaultdict(dict)
    for name, value in contribution.items():
        base, _, other = name.partition("|")
        parts[other or arm][base] = value
    return dict(parts)


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _split(name: str) -> tuple[str, KindId | None, int | None]:
    """Return the base name of a stored field, its kind of prompt and its block."""
    rest, _, block = name.partition("~")
    base, at, kind = rest.partition("@")
    generation, _, number = kind.partition(".")
    return base, (int(generation), int(number)) if at else None, int(block) if block else None


def _check(sums: Mapping[str, int]) -> None:
    for name, value in sums.items():
        if value < 0 and not name.startswith((GAIN, RESIDUAL, SURPRISE)):
            raise CorruptState(f"{name} is negative")
    for at in {name.lstrip(_LETTERS) for name in sums}:
        for name, count, most in _BOUNDS:
            if abs(sums.get(name + at, 0)) > sums.get(count + at, 0) * most:
                raise CorruptState(f"{name}{at} is larger than {count}{at} allows")
        for count in (LABELS, REQUESTS):
            if sums.get(count + at, 0) > sums.get(count, 0):
                raise CorruptState(f"{count}{at} is larger than {count}")
