"""Decompression of response bodies (`Content-Encoding: gzip` or `deflate`), in pieces of bounded size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping

from shared.quick_http.connection import Take
from shared.quick_http.pool import Incoming
from shared.quick_http.replies import BadReply

PIECE_BYTES = 262_144
"""Largest decompressed piece: a small body may expand to gigabytes."""

PIECES_AT_ONCE = 16

_GZIP = zlib.MAX_WBITS | 16
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_NOT_PACKED = frozenset({"", "identity"})
_HEADER_BYTES = 2


class UnknownPacking(Exception):
    """The content encoding is not supported."""


class Unpacker:
    """Incremental decompression of one body. `deflate` may come with zlib's header, or raw, as some servers send it."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._packed = b""
        self._inflater: zlib._Decompress | None = None
        self._more = False

    @property
    def pending(self) -> bool:
        """Whether `next` may return more before more is fed."""
        return self._more

    @property
    def complete(self) -> bool:
        """Whether the end of the compressed body has arrived."""
        return self._inflater is not None and self._inflater.eof

    def feed(self, packed: bytes) -> None:
        """Take compressed bytes."""
        self._packed += packed
        self._more = bool(self._packed) and (self._inflater is not None or len(self._packed) >= _HEADER_BYTES)

    def next(self) -> bytes:
        """Return the next piece, at most `PIECE_BYTES`; empty if more input is needed. Raises BadReply."""
        if not self._more:
            return b""
        if self._inflater is None:
            self._inflater = zlib.decompressobj(self._window())
        if self._inflater.eof:  # gzip may come in several members; anything else after the end is discarded
            rest = self._packed if self._encoding != "deflate" else b""
            if not rest.startswith(b"\x1f"):
                self._packed, self._more = b"", False
                return b""
            self._inflater = zlib.decompressobj(_GZIP)
        try:
            piece = self._inflater.decompress(self._packed, PIECE_BYTES)
        except zlib.error as error:
            raise BadReply("not packed as its content-encoding says") from error
        self._packed = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        self._more = bool(self._packed) or len(piece) == PIECE_BYTES
        return piece

    def _window(self) -> int:
        if self._encoding == "deflate":
            first, second = self._packed[:2]
            if first & 0x0F != zlib.DEFLATED or (first << 8 | second) % 31:
                return -zlib.MAX_WBITS
        return _WINDOWS[self._encoding]


class UnpackedIncoming:
    """`Incoming` with its body decompressed."""

    def __init__(self, incoming: Incoming, encoding: str) -> None:
        self._incoming = incoming
        self._unpacker = Unpacker(encoding)
        self.status = incoming.status
        self.headers = incoming.headers

    @property
    def ended(self) -> bool:
        """Whether all of the body has been read."""
        return self._incoming.ended and not self._unpacker.pending

    @property
    def delimited(self) -> bool:
        """See `Incoming.delimited`."""
        return self._incoming.delimited and self._unpacker.complete

    async def read(self, within_s: float) -> bytes:
        """Return what has arrived, as soon as there is something; see `Incoming.read`."""
        while not (piece := self._unpacker.next()) and not self.ended:
            if not self._unpacker.pending:
                self._unpacker.feed(await self._incoming.read(within_s))
        return piece

    async def pour(self, take: Take, left_s: Callable[[], float]) -> None:
        """Pass what arrives to `take`; see `Incoming.pour`."""
        wanted = True

        def unpack(packed: bytes) -> bool:
            nonlocal wanted
            self._unpacker.feed(packed)
            wanted = self._hand_over(take)
            return wanted and not self._unpacker.pending

        while wanted and not self.ended:
            if self._unpacker.pending:
                await asyncio.sleep(0)  # a small piece that expands to much must not block the event loop
                wanted = self._hand_over(take)
            else:
                await self._incoming.pour(unpack, left_s)

    def _hand_over(self, take: Take) -> bool:
        """Decompress some pieces; return whether `take` can take more."""
        for _ in range(PIECES_AT_ONCE):
            if not self._unpacker.pending:
                break
            piece = self._unpacker.next()
            if piece and not take(piece):
                return False
        return True

    def close(self) -> None:
        """See `Incoming.close`."""
        self._incoming.close()


Body = Incoming | UnpackedIncoming


def unpacked(incoming: Incoming) -> Body:
    """Return a response whose body is read decompressed. Raises UnknownPacking."""
    encoding = packing_of(incoming.headers)
    return incoming if encoding is None else UnpackedIncoming(incoming, encoding)


def unpack(headers: Mapping[str, str], body: bytes, most: int) -> bytes:
    """Return a whole body, decompressed. Raises UnknownPacking, and BadReply if it is damaged or too large."""
    encoding = packing_of(headers)
    if encoding is None:
        return body
    unpacker, pieces, size = Unpacker(encoding), list[bytes](), 0
    unpacker.feed(body)
    while unpacker.pending:
        pieces.append(unpacker.next())
        size += len(pieces[-1])
        if size > most:
            raise BadReply("too long a body")
    return b"".join(pieces)


def packing_of(headers: Mapping[str, str]) -> str | None:
    """Return the content encoding of a body, None if it has none. Raises UnknownPacking."""
    words = [word.strip().lower() for word in headers.get("content-encoding", "").split(",")]
    packings = [word for word in words if word not in _NOT_PACKED]
    if not packings:
        return None
    if len(packings) > 1 or packings[0] not in _WINDOWS:
        raise UnknownPacking
    return packings[0]
