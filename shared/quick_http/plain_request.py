"""Which requests are plain, and what is in them.

A plain request is one that every server and proxy reads alike: what is allowed below is allowed by name, and anything
else, however lawful, is not ours to read. Two readers that disagree on where a request ends are how one is smuggled
inside another.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from shared.quick_http.response_writer import ResponseWriter

MAX_HEAD_BYTES = 8192
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e]*\r\n)+")
"""Whole lines, each a name directly before its colon: none is folded, and no other byte ends or hides in one."""
_LENGTH = re.compile(r"[0-9]{1,9}")
_ODD = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "trailer"})


class NotPlain(Exception):
    """Somebody else has to read this."""


class Question(NamedTuple):
    """A request; names of headers are in lower case. `outlet` is for who answers it in pieces."""

    headers: Mapping[str, str]
    body: bytes
    outlet: ResponseWriter


class Head(NamedTuple):
    """The head of a request, and where its body starts and ends."""

    line: bytes
    headers: Mapping[str, str]
    start: int
    end: int


def read_head(data: bytes | bytearray, lines: Collection[bytes], most: int) -> Head | None:
    """Return the head that `data` begins with; None while it may become one. Raises NotPlain.

    Its first line must be one of `lines`, and its body at most `most` bytes.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        if len(data) >= MAX_HEAD_BYTES or not _begins(data, lines):
            raise NotPlain
        return None
    line, _, fields = bytes(data[: end + 2]).partition(b"\r\n")
    if line not in lines:
        raise NotPlain
    read = _read_fields if b"authorization" in fields.lower() else _remembered  # no key is kept in memory
    headers, length = read(fields)
    if length > most:
        raise NotPlain
    return Head(line, headers, end + 4, end + 4 + length)


def _begins(data: bytes | bytearray, lines: Collection[bytes]) -> bool:
    """Whether this is the beginning of one of the lines, or begins with one."""
    return any(data.startswith((line + b"\r\n")[: len(data)]) for line in lines)


def _read_fields(fields: bytes) -> tuple[Mapping[str, str], int]:
    """Return the headers and the length of the body."""
    if _FIELDS.fullmatch(fields) is None:
        raise NotPlain
    rows = fields.decode("ascii").split("\r\n")
    rows.pop()
    headers = {name.lower(): value.strip() for name, _, value in [row.partition(":") for row in rows]}
    length = headers.get("content-length", "")
    if (
        len(headers) != len(rows)  # one was there twice
        or "host" not in headers
        or not _ODD.isdisjoint(headers)
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
        or _LENGTH.fullmatch(length) is None
    ):
        raise NotPlain
    return MappingProxyType(headers), int(length)


_remembered = functools.lru_cache(maxsize=512)(_read_fields)
"""The heads of one client differ in little more than that length."""
