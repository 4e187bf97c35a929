"""Log tail: reads lines appended to a log file. Parts log to files, so that a stuck terminal never blocks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MAX_LINE = 65_536


class LogTail:
    """Reader of completed lines. A line that ends in a carriage return, like a progress bar, keeps it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """Yield the lines that were completed since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).replace(b"\r\n", b"\n").splitlines(keepends=True) or [b""]
        if self._rest.endswith((b"\n", b"\r")) or len(self._rest) > MAX_LINE:
            whole, self._rest = [*whole, self._rest], b""
        yield from (line.decode(errors="replace").rstrip("\n") for line in whole if line.strip())


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last non-empty lines of a log."""
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - MAX_LINE))
        text = log.read().decode(errors="replace").replace("\r", "\n")
    return [line for line in text.splitlines() if line.strip()][-count:]
