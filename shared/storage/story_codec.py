"""Codec of stories: the record of a request in about a kilobyte, as Redis keeps it where there is no history.

A story is one zlib stream with a preset dictionary (RFC 1950): the record as JSON without its lists, then the lists
of each decision in columns. Of every model it keeps the propensity exactly, cost, latency and labels as float32, and
all other estimates as float16 (3 digits). Of neighbours it keeps the similarity in steps of 1/4095, each less than the
one before, the score in steps of 1/65535, and the weight as float16. Behind the stream are the ids of the nearest
neighbours, as many as fit into `ROOM`. A story of JSON, which is not packed yet, is read as well.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import uuid
import zlib
from collections.abc import Iterable
from functools import cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from shared.bandit.arms import ArmId
from shared.bandit.decision import ArmView, Decision
from shared.schemas.records import Lesson, RequestRecord

ROOM = 1018
"""Size up to which stories keep ids of neighbours, three times as large as all else that is kept of one. Redis
allocates 1024 bytes for a string of this size, and 1280 for a longer one."""

_HALVES = (
    "quality", "quality_sd", "draw_sd", "base_quality", "local_shift", "cost_term", "speed_term", "utility", "draw",
    "rating_sd",
)  # fmt: skip
_SINGLES = ("cost_usd", "latency_s", "labels")
_VIEW = struct.Struct(f"<Hd{len(_SINGLES)}f{len(_HALVES)}e")
_VIEW_FIELDS = ("arm", "propensity", *_SINGLES, *_HALVES)
_NEIGHBOUR = struct.Struct("<HHHe")
_ID = struct.Struct("16s")
_SCORES, _SIMILARITIES = 65535, 4095

_WINDOW_BITS, _MEMORY_LEVEL = 13, 6
"""8 KB hold the dictionary and the story; zlib's default would clear 256 KB for each."""


class _Lists(Struct, frozen=True, array_like=True):
    """Sizes of the lists of a decision; `others` are arms that are not among the ranked ones."""

    views: int
    neighbours: int
    examples: int
    others: tuple[ArmId, ...] = ()


class _Head(Struct, frozen=True, array_like=True):
    """Start of a story: lists of the decision and of the shadow's, and the rest of the record."""

    lists: tuple[_Lists, ...]
    record: msgspec.Raw


_EXAMPLE = "\0"
_ENCODER = msgspec.json.Encoder()
_HEAD = msgspec.json.Decoder(_Head)
_END = b"\n"  # JSON has none: it separates the head from the columns


def packed(record: RequestRecord) -> bytes:
    """Return the story of a record; its JSON where a list has what does not fit into the columns."""
    try:
        return _packed(record)
    except (ValueError, OverflowError, struct.error):  # a neighbour whose id is no UUID, more arms than numbers
        return record.to_json()


def _packed(record: RequestRecord) -> bytes:
    decisions = [record.decision] if record.shadow is None else [record.decision, record.shadow]
    lists, columns = zip(*map(_columns, decisions), strict=True)
    head = _Head(lists, msgspec.Raw(_ENCODER.encode(_without_lists(record))))
    deflate = _deflate().copy()
    parts = [deflate.compress(_ENCODER.encode(head) + _END), deflate.flush(zlib.Z_BLOCK)]  # text has a code of its own
    for part in columns:
        parts += [deflate.compress(part), deflate.flush(zlib.Z_BLOCK)]
    stream = b"".join((*parts, deflate.flush()))
    room = max(ROOM - len(stream), 0) // _ID.size
    return stream + b"".join([_raw(use[0]) for use in record.decision.neighbours[:room]])


def is_packed(story: bytes) -> bool:
    """Whether a story is packed; else it is JSON."""
    return not story.startswith(b"{")


def record_of(story: bytes, own_id: str) -> RequestRecord:
    """Return the record of a story, with rounded estimates. Raises ValueError."""
    if not is_packed(story):
        return RequestRecord.from_json(story)
    head, columns, ids = _opened(story)
    bare = RequestRecord.from_json(bytes(head.record))
    decisions = []
    for lists, decision in zip(head.lists, (bare.decision, bare.shadow), strict=False):
        whole, columns = _with_lists(decision or bare.decision, lists, columns)
        decisions.append(whole)
    decision, shadow = _with_ids(decisions[0], ids), decisions[1] if len(decisions) > 1 else None
    public_id = bare.public_id or own_id
    return structs.replace(bare, id=own_id, public_id=public_id, decision=decision, shadow=shadow)


def lesson_of(story: bytes, own_id: str) -> Lesson:
    """Return the part of a story that is learned from, without views if it is packed. Raises ValueError."""
    if not is_packed(story):
        return Lesson.from_json(story)
    head, *_ = _opened(story)
    return structs.replace(Lesson.from_json(bytes(head.record)), id=own_id)


def _without_lists(record: RequestRecord) -> RequestRecord:
    """Return the record without what is in columns, or in the key."""
    public_id = "" if record.public_id == record.id else record.public_id
    shadow = None if record.shadow is None else _bare(record.shadow)
    return structs.replace(record, id="", public_id=public_id, decision=_bare(record.decision), shadow=shadow)


def _bare(decision: Decision) -> Decision:
    """Return a decision without its lists. The reason names the first example, which is in a list already."""
    reason = decision.reason.replace(decision.examples[0], _EXAMPLE) if decision.examples else decision.reason
    return dataclasses.replace(decision, reason=reason, views=(), neighbours=(), examples=())


def _columns(decision: Decision) -> tuple[_Lists, bytes]:
    """Return the sizes and the columns of the lists of a decision."""
    views, neighbours = decision.views, decision.neighbours
    index = {arm: i for i, arm in enumerate(decision.ranked)}
    for arm in (*[view.arm for view in views], *[use[2] for use in neighbours]):
        index.setdefault(arm, len(index))
    rows = [
        (index[view.arm], view.propensity, _known(view.cost_usd), _known(view.latency_s), view.labels,
         view.quality, view.quality_sd, view.draw_sd, view.base_quality, view.local_shift, view.cost_term,
         view.speed_term, view.utility, view.draw, view.rating_sd)
        for view in views
    ]  # fmt: skip
    steps = [_SIMILARITIES, *(round(use[1] * _SIMILARITIES) for use in neighbours)]
    uses = [
        (before - step, index[arm], round(score * _SCORES), weight)
        for before, step, (_, _, arm, score, weight) in zip(steps, steps[1:], neighbours, strict=False)
    ]
    ids = [(_raw(own_id),) for own_id in decision.examples]
    lists = _Lists(len(rows), len(uses), len(ids), tuple(index)[len(decision.ranked) :])
    return lists, _in_columns(_VIEW, rows) + _in_columns(_ID, ids) + _in_columns(_NEIGHBOUR, uses)


def _with_lists(decision: Decision, lists: _Lists, columns: bytes) -> tuple[Decision, bytes]:
    """Return the decision with its lists, and the columns behind them."""
    arms = (*decision.ranked, *lists.others)
    rows, columns = _rows(_VIEW, columns, lists.views)
    ids, columns = _rows(_ID, columns, lists.examples)
    uses, columns = _rows(_NEIGHBOUR, columns, lists.neighbours)
    steps = accumulate((-use[0] for use in uses), initial=_SIMILARITIES)
    neighbours = [
        ("", round(step / _SIMILARITIES, 4), arms[arm], round(score / _SCORES, 5), _rounded(weight))
        for step, (_, arm, score, weight) in zip(islice(steps, 1, None), uses, strict=True)
    ]
    views = tuple([_view(dict(zip(_VIEW_FIELDS, row, strict=True)), arms) for row in rows])
    examples = tuple([_id(raw) for (raw,) in ids])
    reason = decision.reason.replace(_EXAMPLE, examples[0]) if examples else decision.reason
    whole = dataclasses.replace(decision, reason=reason, views=views, neighbours=tuple(neighbours), examples=examples)
    return whole, columns


def _with_ids(decision: Decision, ids: bytes) -> Decision:
    """Return the decision with the ids of its nearest neighbours."""
    named = [_id(raw) for (raw,) in _ID.iter_unpack(ids)]
    uses = decision.neighbours
    neighbours = [(name, *use[1:]) for name, use in zip(named, uses, strict=False)]
    return dataclasses.replace(decision, neighbours=(*neighbours, *uses[len(named) :]))


def _view(row: dict[str, Any], arms: tuple[ArmId, ...]) -> ArmView:
    row |= {name: _rounded(row[name]) for name in _HALVES} | {"arm": arms[row["arm"]]}
    unknown = {name: None for name in ("cost_usd", "latency_s") if math.isnan(row[name])}
    return ArmView(**row | unknown)


def _in_columns(kind: struct.Struct, rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Return the first bytes of all rows, then the second ones, and so on: like stands by like."""
    raw = b"".join([kind.pack(*row) for row in rows])
    return b"".join([raw[at :: kind.size] for at in range(kind.size)])


def _rows(kind: struct.Struct, columns: bytes, number: int) -> tuple[list[tuple[Any, ...]], bytes]:
    """Return the rows that `columns` begins with, and what is behind them."""
    size = number * kind.size
    raw = b"".join([columns[at:size:number] for at in range(number)])
    return list(kind.iter_unpack(raw)), columns[size:]


def _raw(own_id: str) -> bytes:
    return bytes.fromhex(own_id.replace("-", ""))


def _id(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _rounded(value: float) -> float:
    """Return a float16 as the shortest decimal number that stands for it."""
    return float(str(np.float16(value)))


@cache
def _deflate() -> Any:
    """Return a compressor to copy: copying it is cheaper than reading the dictionary again."""
    return zlib.compressobj(6, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=_dictionary())


@cache
def _dictionary() -> bytes:
    """Return the dictionary. Stories name it by its checksum: another one needs a way to read those of this one."""
    return Path(__file__).with_name("story_dictionary.txt").read_bytes()


def _opened(story: bytes) -> tuple[_Head, bytes, bytes]:
    """Return the head of a story, its columns, and the ids behind them. Raises ValueError."""
    inflate = zlib.decompressobj(_WINDOW_BITS, zdict=_dictionary())
    try:
        head, _, columns = inflate.decompress(story).partition(_END)
        if not inflate.eof:
            raise ValueError("a story that is cut off cannot be read")
        return _HEAD.decode(head), columns, inflate.unused_data
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a story that cannot be read: {error}") from error
