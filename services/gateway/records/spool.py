"""Spool: stores records on local disk while Redis is down. Append-only, fsynced, bounded, and readable after kill -9.

A spool is a folder of segments. The process that writes a segment holds a lock on it, so several gateways may share the
folder. At its start a process adopts the segments that no process has locked. An entry is one line: CRC-32, a space,
JSON. A torn or damaged line is skipped and counted; an acknowledged entry was fsynced as a whole. Every method blocks:
call it in a thread.
"""

from __future__ import annotations

import base64
import fcntl
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from shared.errors import RouterError
from shared.logs import get_logger
from shared.schemas.records import RequestRecord
from shared.schemas.storage import NewRecord

_log = get_logger(__name__)
SEGMENT_BYTES = 4_194_304
"""A segment is replayed as a whole, so this bounds the memory of a replay."""
SUFFIX = ".spool"
PROBE_BYTES = 16_384
"""Larger than a record with its vector."""


class SpoolFull(RouterError):
    """Error: the bound is reached, or the disk refuses the write."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file with its lock, its bytes and its number of entries."""

    path: Path
    file: IO[bytes]
    size: int
    entries: int


class Spool:
    """The segments of one process: one that takes entries, and sealed ones that wait for their replay."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._active: Segment | None = None
        self._sealed: list[Segment] = []

    @property
    def waiting(self) -> int:
        """Number of entries on disk."""
        active = self._active
        return sum(segment.entries for segment in self._sealed) + (active.entries if active else 0)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        active = self._active
        return sum(segment.size for segment in self._sealed) + (active.size if active else 0)

    def adopt(self) -> int:
        """Adopt the segments of processes that have ended; return the number of entries that now wait."""
        if not self._folder.is_dir():
            return 0
        with self._lock:
            mine = {segment.path for segment in (*self._sealed, *([self._active] if self._active else []))}
            for path in sorted(self._folder.glob(f"*{SUFFIX}")):
                if path in mine:
                    continue
                segment = _open_locked(path)
                if segment is not None:
                    segment.entries = sum(1 for _ in segment.file)
                    self._sealed.append(segment)
        return self.waiting

    def append(self, entries: Sequence[NewRecord]) -> None:
        """Write entries and fsync once. Raises SpoolFull; then none of them is stored."""
        lines = b"".join(_encode(entry) for entry in entries)
        with self._lock:
            if self.size + len(lines) > self._max_bytes:
                raise SpoolFull(f"the spool holds {self.size} of {self._max_bytes} bytes")
            try:
                segment = self._writable()
                _write_through(segment.file.fileno(), lines)
            except OSError as error:
                self._undo()
                raise SpoolFull(f"the disk refuses: {error.strerror}") from error
            segment.size += len(lines)
            segment.entries += len(entries)

    def takes(self) -> bool:
        """Return whether an entry of usual size can be written and fsynced now; the probe is removed again."""
        with self._lock:
            if self.size + PROBE_BYTES > self._max_bytes:
                return False
            try:
                _write_through(self._writable().file.fileno(), b" " * PROBE_BYTES)
            except OSError:
                return False
            finally:
                self._undo()
        return True

    def next_segment(self) -> Segment | None:
        """Seal and return the oldest segment; None if nothing waits."""
        with self._lock:
            if not self._sealed:
                self._seal()
            return self._sealed[0] if self._sealed else None

    def read(self, segment: Segment) -> list[NewRecord]:
        """Return the entries of a segment; damaged lines are logged and skipped."""
        segment.file.seek(0)
        entries, damaged = [], 0
        for entry in _decode(segment.file):
            if entry is None:
                damaged += 1
            else:
                entries.append(entry)
        if damaged:
            _log.warning("damaged lines in the spool", lines=damaged, file=segment.path.name)
        return entries

    def done(self, segment: Segment) -> None:
        """Delete a segment whose entries are all stored."""
        with self._lock:
            with suppress(FileNotFoundError):
                segment.path.unlink()
            segment.file.close()
            self._sealed = [other for other in self._sealed if other is not segment]

    def close(self) -> None:
        """Release the files; their entries stay on disk for the next start."""
        with self._lock:
            self._seal()
            for segment in self._sealed:
                segment.file.close()
            self._sealed = []

    def _writable(self) -> Segment:
        if self._active is not None and self._active.size >= SEGMENT_BYTES:
            self._seal()
        if self._active is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
            path.touch(mode=0o600, exist_ok=False)
            self._active = _open_locked(path)
            if self._active is None:
                raise BlockingIOError(None, "another process holds the new segment")
        return self._active

    def _undo(self) -> None:
        """Truncate the segment to its last whole entry after a failed write.

        Entries that were counted as lost are not replayed then, and the next entry starts on a new line. The segment
        stays in use: a new one for each attempt would cost a file and a descriptor a second while the disk is full.
        """
        active = self._active
        if active is not None:
            try:
                os.ftruncate(active.file.fileno(), active.size)
                os.lseek(active.file.fileno(), active.size, os.SEEK_SET)
            except OSError:
                self._seal()

    def _seal(self) -> None:
        if self._active is not None:
            self._sealed.append(self._active)
            self._active = None


def _open_locked(path: Path) -> Segment | None:
    """Open and lock a segment; None if another process has locked it, or it cannot be opened."""
    try:
        file = path.open("r+b")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        finished = status.st_nlink == 0  # its owner has deleted it between our open and our lock
    except BlockingIOError:
        finished = True
    if finished:
        file.close()
        return None
    return Segment(path, file, status.st_size, entries=0)


def _write_through(descriptor: int, content: bytes) -> None:
    """Write and fsync, unbuffered: otherwise closing the file would flush a refused write again."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


class _Entry(msgspec.Struct):
    record: msgspec.Raw
    vector: str | None
    prompt: str | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


def _encode(entry: NewRecord) -> bytes:
    vector = None if entry.vector is None else base64.b64encode(entry.vector.astype("<f4").tobytes()).decode()
    prompt = {} if entry.prompt is None else {"prompt": entry.prompt.encode("utf-8", "replace").decode()}
    body = msgspec.json.encode({"record": entry.record, "vector": vector, **prompt})
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _decode(lines: Iterable[bytes]) -> Iterator[NewRecord | None]:
    for line in lines:
        checksum, _, body = line.rstrip(b"\n").partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(body):
                yield None
                continue
            content = _ENTRY.decode(body)
            vector = content.vector
            decoded = None if vector is None else np.frombuffer(base64.b64decode(vector), dtype="<f4")
            yield NewRecord(RequestRecord.from_json(bytes(content.record)), decoded, content.prompt)
        except (ValueError, msgspec.MsgspecError):
            yield None
