"""Bounded queue of lines, and the thread that writes them to a file descriptor.

Writing to standard error may fail (closed, reader gone, disk full) or block forever (a reader that does not read).
Neither may affect a request, so callers only append to a queue and a thread writes. Lines that the queue or the
descriptor refuses are dropped and counted; the next line that is written is followed by one with the number lost.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_QUEUED_BYTES = 1_048_576
GATHER_S = 0.02
"""Lines within this time are written together: waking the thread for each would cost the event loop more."""

BATCH_BYTES = 262_144
CLOSED = -1
"""Descriptor of a stream that is closed: every write to it fails."""

_LINE_FEED = 10


def _notice(lost: int) -> bytes:
    return b"%d lines were lost: they could not be written\n" % lost


class LineWriter:
    """Writes lines in order; `write` never raises and never blocks.

    Attributes:
        dropped: how many lines were lost.
        notice: makes the line that reports how many were lost since the last written one.
    """

    def __init__(self, descriptor: int, *, most_bytes: int = MAX_QUEUED_BYTES) -> None:
        self.dropped = 0
        self.notice: Callable[[int], bytes] = _notice
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._unreported = 0
        self._torn = False
        self._lock = threading.RLock()  # reentrant: a finalizer may log in the middle of `write`
        self._work = threading.Lock()
        self._work.acquire()
        self._idle = True
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Queue a line, which ends in a line feed, or drop it where the queue is full."""
        with self._lock:
            if self._queued_bytes + len(line) > self._most_bytes:
                self._count_dropped(1)
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            if self._idle and (self._thread is not None or self._started()):
                self._idle = False
                self._work.release()

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for so long at most. Later lines are still written if the process lives."""
        self._closing.set()
        deadline = time.monotonic() + timeout_s
        while not self._idle and time.monotonic() < deadline:
            time.sleep(0.002)

    def _started(self) -> bool:
        """Start the thread; without one, lines wait in the queue until the next line tries again."""
        thread = threading.Thread(target=self._run, name="line writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _count_dropped(self, lines: int) -> None:
        with self._lock:
            self.dropped += lines
            self._unreported += lines

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._work.acquire()
            while True:
                if self._queued_bytes < BATCH_BYTES:
                    self._closing.wait(GATHER_S)
                batch = self._take()
                if not batch:
                    break
                self._write_batch(batch)

    def _take(self) -> list[bytes]:
        """Return the oldest lines; if there are none, the thread waits until `write` wakes it."""
        batch: list[bytes] = []
        size = 0
        with self._lock:
            while self._lines and size < BATCH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1])
            self._queued_bytes = self._queued_bytes - size if self._lines else 0
            self._idle = not batch
        return batch

    def _write_batch(self, batch: list[bytes]) -> None:
        try:
            unwritten = self._unwritten(b"".join(batch))
            if unwritten:
                self._count_dropped(max(1, unwritten.count(b"\n")))
                return
            lost = self._unreported
            if lost and not self._unwritten(self.notice(lost)):
                with self._lock:
                    self._unreported -= lost
        except Exception:  # noqa: BLE001 - the edge of the thread: out of memory, or a broken notice
            self._count_dropped(len(batch))

    def _unwritten(self, data: bytes) -> bytes:
        """Write; return what the descriptor did not take. A line that was cut is ended before the next begins."""
        rest = memoryview(data)
        try:
            if self._torn:
                os.write(self._descriptor, b"\n")
                self._torn = False
            while rest:
                try:
                    written = os.write(self._descriptor, rest)
                except BlockingIOError:  # another process has made the pipe non-blocking
                    self._wait_for_room()
                    continue
                self._torn = rest[written - 1] != _LINE_FEED
                rest = rest[written:]
        except OSError:
            return bytes(rest)
        self._torn = False  # a text without a line feed at its end is a progress bar: what follows overwrites it
        return b""

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(1000)
