"""Parser of server-sent events (WHATWG), robust against cut, padded, split or oversized input."""

from __future__ import annotations

from shared.schemas.upstream import KEEP_ALIVE

MAX_EVENT_BYTES = 33 * 1024 * 1024
"""Room for a picture of 32 MiB in a delta, and what is around it."""

MAX_COMMENT_BYTES = 200
"""Kept bytes of a comment."""

_NOTHING = b" \t\r\n\xef\xbb\xbf"
_DOCUMENTS = (b"{", b"[", b"<")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LF = 0x0A
_LINE_ENDS = (b"\n", b"\r")

Event = tuple[bytes, bytes]
"""Type (the field `event`, mostly empty) and data."""


class EventTooLarge(Exception):
    """A line, an event or a document is larger than `MAX_EVENT_BYTES`."""


def comment_of(text: bytes) -> bytes:
    """Return a comment as bytes of a stream; an empty one says `keep-alive`."""
    return b": " + text.decode("utf-8", "ignore").encode() + b"\n\n" if text else KEEP_ALIVE


class EventParser:
    """Incremental parser: bytes in, whole events out. Fields other than `data` and `event` are dropped.

    Lines end in LF, CRLF or CR. Splits anywhere are fine, within a character or a line end too: pieces of a line are
    joined once, when it is complete. An event without data is none. JSON without a field name, on one line or several,
    is an event if it has an error in it, as of servers that fail within a stream; any other is dropped.

    Attributes:
        comment: the last comment that has come; a reader sets it to None.
        document: what has come of a body that is no stream: it begins as JSON or HTML do.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a line whose end has not come
        self._pending = 0
        self._after_cr = False
        self._begun = self._between = False  # between two events
        self._data: list[bytes] = []
        self._bare = False  # the data has no field names
        self._type = b""
        self._size = 0
        self._undecided = True  # nothing but blanks has come
        self.comment: bytes | None = None
        self.document: bytearray | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes. Raises EventTooLarge."""
        if (
            self._between
            and chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk[-1] == _LF
            and b"\r" not in chunk
        ):
            return [(b"", chunk[6:-2])]  # one event and nothing else, as most upstreams send them
        events = self._feed(chunk)
        unfinished = self._pieces or self._data or self._type or self._after_cr
        self._between = self._begun and not (self._undecided or unfinished)
        return events

    def _feed(self, chunk: bytes) -> list[Event]:
        if self._undecided and (text := chunk.lstrip(_NOTHING)):
            self._undecided = False
            if text.startswith(_DOCUMENTS):
                self.document = bytearray()
        if self.document is not None:
            self.document += chunk
            self._size = len(self.document)
            self._check_size()
            return []
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith(_LINE_ENDS) else lines.pop()
        if self._pieces and lines:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces.clear()
            self._pending = 0
        events = [event for line in lines if (event := self._read(line)) is not None]
        if rest:
            self._pieces.append(rest)
            self._pending += len(rest)
            self._check_size()
        return events

    def end(self) -> list[Event]:
        """Return the event whose last line, or the blank line behind it, is missing. Raises EventTooLarge."""
        events = self.feed(b"\n") if self._pieces else []
        last = self._complete()
        return events if last is None else [*events, last]

    def _read(self, line: bytes) -> Event | None:
        """Take one line; return the event that it completes."""
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._complete()
        if line.startswith(b"data:"):
            last = self._complete() if self._bare else None
            self._add(line[6 if line.startswith(b"data: ") else 5 :])
            return last
        if self._bare or line.lstrip(b" \t").startswith(b"{"):
            last = self._complete() if not self._bare and self._data else None
            self._bare = True
            self._add(line)
            return last or (self._complete() if line.endswith(b"}") and len(self._data) == 1 else None)
        if line.startswith(b"event:"):
            self._type = line[6:].removeprefix(b" ")
        elif line.startswith(b":"):
            self.comment = line[1 : MAX_COMMENT_BYTES + 1].strip()
        return None

    def _add(self, value: bytes) -> None:
        self._size += len(value) + 1
        self._check_size()
        self._data.append(value)

    def _complete(self) -> Event | None:
        bare, self._bare = self._bare, False
        if not self._data:
            self._type = b""
            return None
        event = (self._type, b"\n".join(self._data))
        self._data, self._type, self._size = [], b"", 0
        dropped = bare and b'"error"' not in event[1] and event[0] != b"error"
        return event if event[1].strip() and not dropped else None

    def _check_size(self) -> None:
        if self._size + self._pending > MAX_EVENT_BYTES:
            raise EventTooLarge
