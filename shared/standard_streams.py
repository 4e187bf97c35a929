"""Non-blocking standard output and standard error, for a process that must outlive their readers.

`protect` replaces the streams of Python by ones that queue (`line_writer.py`), so that a print, a warning, a traceback
or a library's own message can neither fail nor block. They write to a duplicate of the descriptor that was there at the
start: where number 2 is closed later and given to a socket, no line goes into that socket.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO, cast

from shared.line_writer import CLOSED, LineWriter

FLUSH_S = 1.0
"""Time at exit for writing queued lines."""

_writers: dict[int, LineWriter] = {}
"""Writer by descriptor number. Global, as the streams themselves are."""


class QueuedStream(io.TextIOBase):
    """Text stream that passes whole lines, redacted, to a `LineWriter`; `flush` passes an unfinished line."""

    def __init__(self, writer: LineWriter, descriptor: int, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._writer = writer
        self._descriptor = descriptor
        self._redact = redact
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the library says that it may be set
        """UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # as above
        """Unencodable characters are written as escapes."""
        return "backslashreplace"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return self._descriptor != CLOSED and os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for subprocesses. Raises OSError where the stream is closed."""
        if self._descriptor == CLOSED:
            raise OSError("the stream is closed")
        return self._descriptor

    def write(self, text: str) -> int:
        """Queue whole lines; keep what follows the last line feed."""
        lines, feed, self._rest = (self._rest + text).rpartition("\n")
        if feed:
            for line in lines.split("\n"):
                self._queue(line + feed)
        return len(text)

    def flush(self) -> None:
        """Queue what does not end in a line feed."""
        rest, self._rest = self._rest, ""
        if rest:
            self._queue(rest)

    def _queue(self, text: str) -> None:
        self._writer.write(self._redact(text).encode("utf-8", "backslashreplace"))


def protect(redact: Callable[[str], str] = str, *, stdout: bool = False) -> None:
    """Replace standard error, and standard output if wanted. Call it first thing; a second call changes nothing.

    A stream that was closed when Python started is None: its descriptor number may belong to a file by now and is left
    alone. Numbers 0 to 2 that are free get /dev/null, so that no socket is ever opened under them.
    """
    closed = {number for number, stream in ((1, sys.stdout), (2, sys.stderr)) if cast("TextIO | None", stream) is None}
    _fill_low_descriptors()
    for number, name in ((2, "stderr"), *(((1, "stdout"),) if stdout else ())):
        if number in _writers:
            continue
        descriptor = CLOSED if number in closed else os.dup(number)
        writer = _writers[number] = LineWriter(descriptor)
        stream = QueuedStream(writer, descriptor, redact)
        setattr(sys, name, stream)
        atexit.register(_finish, stream, writer)


def standard_error() -> LineWriter:
    """Return the writer of standard error, protecting it if that was not done yet."""
    if 2 not in _writers:
        protect()
    return _writers[2]


def lines_dropped() -> int:
    """Return how many lines of standard error were lost."""
    return _writers[2].dropped if 2 in _writers else 0


def _finish(stream: QueuedStream, writer: LineWriter) -> None:
    stream.flush()
    writer.close(FLUSH_S)


def _fill_low_descriptors() -> None:
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no name
