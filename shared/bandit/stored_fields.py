"""Names of the stored sums: what each means, its unit, and the most that it can be.

`<base>`, and behind it `:<source>` or `:<group>`, `@<generation>.<kind>` and `~<block>`; see `sums.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from shared.bandit.decision import Group
from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.bandit.sums import (
    COMPLETION_TOKENS,
    COST,
    EVALUATION,
    FAILURES,
    GAIN,
    GAIN_SQ,
    LABELS,
    LABELS_MILLI,
    LARGEST_TERMS,
    LATENCY,
    LIFT_COST,
    LIFT_JUDGED,
    LIFT_JUDGED_SCORE,
    LIFT_JUDGED_SCORE_SQ,
    LIFT_LABELS,
    LIFT_REQUESTS,
    LIFT_SCORE,
    LIFT_SCORE_SQ,
    LIFT_TERMS,
    LIFT_TERMS_SQ,
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
)

_FIELD = re.compile(r"([a-z_]+)(?::([a-z]+))?((?:@(\d{1,9})\.(\d{1,9}))?(?:~(\d{1,4}))?)")
NATURAL: Mapping[str, tuple[str, int]] = {
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
    EVALUATION: ("evaluation_usd", NANO),
}
"""Stored field to the attribute of `Sums` and the stored units in one natural unit."""

OF_SOURCES: Mapping[str, tuple[str, int]] = {
    LABELS_MILLI: ("labels", 1000),
    SCORE: ("score", MICRO),
    SCORE_SQ: ("score_sq", MICRO),
}
"""The same for fields of a source other than users, to the attribute of `Scores`."""

OF_GROUPS: Mapping[str, tuple[str, int]] = {
    LIFT_REQUESTS: ("requests", 1),
    LIFT_LABELS: ("labels", 1),
    LIFT_SCORE: ("score", MICRO),
    LIFT_SCORE_SQ: ("score_sq", MICRO),
    LIFT_COST: ("cost_usd", NANO),
    LIFT_TERMS: ("terms", MICRO),
    LIFT_TERMS_SQ: ("terms_sq", MICRO),
    **{LIFT_JUDGED[group]: ("judged", 1) for group in Group},
    **{LIFT_JUDGED_SCORE[group]: ("judged_score", MICRO) for group in Group},
    **{LIFT_JUDGED_SCORE_SQ[group]: ("judged_score_sq", MICRO) for group in Group},
}
"""The same for fields of a group, to the attribute of `GroupSums`."""

IN_BLOCKS: Mapping[str, tuple[str, int]] = {
    LABELS: ("labels", 1),
    SCORE: ("score", MICRO),
    SURPRISE: ("surprise", MICRO),
    SURPRISES: ("surprises", 1),
    RESIDUAL: ("residual", MICRO),
}

_SOURCES = {source.value: source for source in Source if source is not Source.USER}
_GROUPS = {group.value: group for group in Group}
_JUDGED = {
    name: group
    for group in Group
    for name in (LIFT_JUDGED[group], LIFT_JUDGED_SCORE[group], LIFT_JUDGED_SCORE_SQ[group])
}
_ANSWERS = (REQUESTS, SHADOWS)
BOUNDS: Mapping[str, tuple[tuple[str, ...], int]] = {
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
    PROMPT_TOKENS: (_ANSWERS, 1_000_000_000),  # or has more than a billion tokens
    COMPLETION_TOKENS: (_ANSWERS, 1_000_000_000),
    LIFT_SCORE: ((LIFT_LABELS,), MICRO),
    LIFT_SCORE_SQ: ((LIFT_LABELS,), MICRO),
    LIFT_COST: ((LIFT_REQUESTS,), 10_000 * NANO),
    LIFT_TERMS: ((LIFT_REQUESTS,), LARGEST_TERMS * MICRO),
    LIFT_TERMS_SQ: ((LIFT_REQUESTS,), LARGEST_TERMS**2 * MICRO),
}
"""Sum to the counts it belongs to, and the most that one of them can add: beyond it the hash is damaged."""

SOURCE_BOUNDS: Mapping[str, tuple[tuple[str, ...], int]] = {
    SCORE: ((LABELS_MILLI,), MICRO // 1000),
    SCORE_SQ: ((LABELS_MILLI,), MICRO // 1000),
    **{LIFT_JUDGED_SCORE[group]: ((LIFT_JUDGED[group],), MICRO) for group in Group},
    **{LIFT_JUDGED_SCORE_SQ[group]: ((LIFT_JUDGED[group],), MICRO) for group in Group},
}
MAY_BE_NEGATIVE = frozenset({GAIN, RESIDUAL, SURPRISE, LIFT_TERMS})


class Field(NamedTuple):
    """A field: its name; base name; what restricts it, as text; kind, source or group, and base name; its block."""

    name: str
    base: str
    suffix: tuple[str, str]
    part: tuple[KindId | None, Source | Group | None, str]
    block: int | None


@lru_cache(maxsize=65_536)
def field_of(raw: bytes | str) -> Field | None:
    """Return what a stored name means; None for one of a newer version."""
    name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    match = _FIELD.fullmatch(name)
    if match is None:
        return None
    base, of, restricted, *kind, block = match.groups()
    owner: Source | Group | None = None
    if of is None:
        known = base in (IN_BLOCKS if block else NATURAL)
    elif base in _JUDGED:
        owner = _JUDGED[base]
        known = of == Source.JUDGE and not restricted
    elif base in OF_GROUPS:
        owner = _GROUPS.get(of)
        known = owner is not None and not restricted
    else:
        owner = _SOURCES.get(of)
        known = owner is not None and base in OF_SOURCES and not block
    if not known:
        return None
    kind_id = (int(kind[0]), int(kind[1])) if kind[0] else None
    return Field(name, base, (of or "", restricted), (kind_id, owner, base), int(block) if block else None)
