"""Plain requests: which ones the fast path reads, and where they end.

A plain request is one that every server and proxy reads alike. What is allowed is listed below; anything else, however
lawful, is left to aiohttp. Two readers that disagree on where a request ends are how one is smuggled inside another.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from shared.fast_path.response_writer import ResponseWriter

MAX_HEAD_BYTES = 8192
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e]*\r\n)+")
"""Whole lines, each a name directly before its colon: none is folded, and no other byte ends or hides in one."""
_LINE = re.compile(rb"(?:GET|POST|PUT|DELETE|HEAD|OPTIONS) [\x21-\x7e]+ HTTP/1\.1")
_LENGTH = re.compile(r"[0-9]{1,9}")
_ODD = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "trailer"})


class NotPlain(Exception):
    """The request is aiohttp's to read."""


class PlainRequest(NamedTuple):
    """A request. Names of headers are in lower case; `writer` is for a response in pieces."""

    headers: Mapping[str, str]
    body: bytes
    writer: ResponseWriter


class Head(NamedTuple):
    """The head of a request, and where its body starts and ends."""

    line: bytes
    headers: Mapping[str, str]
    start: int
    end: int


def read_head(data: bytes | bytearray, lines: Collection[bytes], most: int) -> Head | None:
    """Return the head that `data` begins with; None while it may become one. Raises NotPlain.

    Its first line must be one of `lines`, and its body have a declared length of at most `most` bytes.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        if len(data) >= MAX_HEAD_BYTES or not may_begin(data, lines):
            raise NotPlain
        return None
    line, _, fields = bytes(data[: end + 2]).partition(b"\r\n")
    if line not in lines:
        raise NotPlain
    headers, length = _fields_of(fields)
    if length is None or length > most:
        raise NotPlain
    return Head(line, headers, end + 4, end + 4 + length)


def may_begin(data: bytes | bytearray, lines: Collection[bytes]) -> bool:
    """Return whether `data` begins with one of the lines, or is the beginning of one."""
    return any(data.startswith((line + b"\r\n")[: len(data)]) for line in lines)


class RequestBoundaries:
    """Follows where the requests end that aiohttp reads; the first one that is not plain ends this for good."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._known = True

    @property
    def at_boundary(self) -> bool:
        """Whether everything so far was whole requests."""
        return self._known and not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take what aiohttp gets."""
        while data and self._known:
            if self._left:
                part = min(self._left, len(data))
                self._left -= part
                data = data[part:]
                continue
            self._head += data
            end = self._head.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
            if end < 0:
                self._known = len(self._head) < MAX_HEAD_BYTES
                return
            line, _, fields = bytes(self._head[: end + 2]).partition(b"\r\n")
            data = bytes(self._head[end + 4 :])
            self._head.clear()
            try:
                self._left = _fields_of(fields)[1] or 0
            except NotPlain:
                self._known = False
            self._known = self._known and _LINE.fullmatch(line) is not None


def _fields_of(fields: bytes) -> tuple[Mapping[str, str], int | None]:
    lowered = fields.lower()  # no key is kept in memory
    read = _read_fields if b"authorization" in lowered or b"x-api-key" in lowered else _remembered
    return read(fields)


def _read_fields(fields: bytes) -> tuple[Mapping[str, str], int | None]:
    """Return the headers and the declared length of the body. Raises NotPlain."""
    if _FIELDS.fullmatch(fields) is None:
        raise NotPlain
    rows = fields.decode("ascii").split("\r\n")
    rows.pop()
    headers = {name.lower(): value.strip() for name, _, value in [row.partition(":") for row in rows]}
    length = headers.get("content-length")
    if (
        len(headers) != len(rows)  # one was sent twice
        or "host" not in headers
        or not _ODD.isdisjoint(headers)
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
        or (length is not None and _LENGTH.fullmatch(length) is None)
    ):
        raise NotPlain
    return MappingProxyType(headers), None if length is None else int(length)


_remembered = functools.lru_cache(maxsize=512)(_read_fields)
"""The heads of one client differ in little more than that length."""
