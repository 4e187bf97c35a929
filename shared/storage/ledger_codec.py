"""Codec of ledgers: what one event of a request has added to the sums, in the field `applied:<event>` of its hash.

A ledger is a msgpack array: revision, block of ratings, fields, and fields that are counted in the request's kind of
prompt as well. Fields are numbers of `NAMES`, plus `OF_BLOCK` for those of the block; any other field has its name.
Such short values keep the hash a listpack, which takes half of the memory. A ledger of an earlier version is JSON, with
its revision in a field of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import orjson

from shared.bandit import sums as names
from shared.bandit.kinds import KindId
from shared.bandit.learning import counted_in
from shared.bandit.sources import Source

_FIELDS = (
    names.REQUESTS, names.LATENCY, names.COST, names.PROMPT_TOKENS, names.COMPLETION_TOKENS, names.LABELS, names.SCORE,
    names.SCORE_SQ, names.GAIN, names.GAIN_SQ, names.SURPRISE, names.SURPRISES, names.LABELS_MILLI, names.SHADOWS,
    names.UNPRICED, names.FAILURES, names.EVALUATION,
)  # fmt: skip
_SCORED = (names.LABELS_MILLI, names.SCORE, names.SCORE_SQ)
_SOURCES = (Source.CHECK, Source.IMPLICIT, Source.JUDGE, Source.EVAL, Source.SESSION)

NAMES = (*_FIELDS, *(f"{field}:{source}" for source in _SOURCES for field in _SCORED))
"""Names of fields by their number, here and in `stored_ledger.lua`. Stored ledgers hold the numbers: append only."""

OF_BLOCK = 64

_NUMBERS = {name: number for number, name in enumerate(NAMES)}
_LARGEST = 2**53


def packed_ledger(revision: int, sums: Mapping[str, int], kind: KindId | None) -> bytes:
    """Return the ledger of a request of that kind; b"" where a number is so large that no script takes it."""
    if any(abs(value) >= _LARGEST for value in sums.values()):
        return b""
    block = next((name.partition("~")[2] for name in sums if "~" in name), "")
    rest, groups = dict(sums), ({}, {})  # type: tuple[dict[str, int], tuple[dict[str | int, int], dict[str | int, int]]]
    for name, value in sums.items():
        counted = None if kind is None else counted_in(name, kind)
        doubled = counted != name and rest.get(counted or "") == value
        if doubled:
            del rest[counted or ""]
        if name in rest:
            groups[doubled][_key(name, block)] = rest.pop(name)
    return msgspec.msgpack.encode([revision, block, *groups])


def _key(name: str, block: str) -> str | int:
    base, _, at = name.partition("~")
    if base not in _NUMBERS or at not in ("", block):
        return name
    return _NUMBERS[base] + (OF_BLOCK if at else 0)


def revision_of(ledger: bytes | None, revision: bytes | None) -> int:
    """Return the revision of a stored ledger; 0 for none. `revision` is the field beside one of an earlier version."""
    if ledger is None or ledger.startswith(b"{"):
        return int(revision or 0)
    return int(msgspec.msgpack.decode(ledger)[0])


def sums_of(ledger: bytes | None, kind: KindId | None) -> dict[str, int] | None:
    """Return the contribution of a stored ledger of a request of that kind; None for none, or a damaged one."""
    if ledger is None:
        return None
    try:
        return _json(ledger) if ledger.startswith(b"{") else _unpacked(ledger, kind)
    except (ValueError, TypeError, LookupError, msgspec.MsgspecError):
        return None


def _json(ledger: bytes) -> dict[str, int]:
    return {str(name): int(value) for name, value in orjson.loads(ledger).items()}


def _unpacked(ledger: bytes, kind: KindId | None) -> dict[str, int]:
    _, block, plain, doubled = msgspec.msgpack.decode(ledger)
    found = {_name(key, block): value for key, value in (plain | doubled).items()}
    if kind is not None:
        found |= {counted_in(_name(key, block), kind): value for key, value in doubled.items()}
    return found


def _name(key: str | int, block: str) -> str:
    if isinstance(key, str):
        return key
    return NAMES[key] if key < OF_BLOCK else f"{NAMES[key - OF_BLOCK]}~{block}"
