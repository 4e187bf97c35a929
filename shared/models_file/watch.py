"""Watch of MODELS_FILE: reads it again when it has changed, or on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from shared.models_file.schema import ModelsFile

EVERY_S = 2.0
"""Pause between two looks."""

_Stamp = tuple[int, int, int] | None


class ModelsFileWatch:
    """Watches one file; `path` is None where there is none. `read` returns the valid file, or raises SettingsError."""

    def __init__(self, path: Path | None, read: Callable[[], ModelsFile]) -> None:
        self._path = path
        self._read = read
        self._stamp: _Stamp = None
        self._requested = True  # the file may have changed since the start

    def request(self) -> None:
        """Read at the next look, changed or not: the file's variables may have changed."""
        self._requested = True

    async def changed(self) -> ModelsFile | None:
        """Return the file if it has changed since the last look. Raises SettingsError where it is not valid."""
        if self._path is None:
            return None
        stamp = await asyncio.to_thread(_stamp_of, self._path)
        if stamp == self._stamp and not self._requested:
            return None
        self._stamp, self._requested = stamp, False
        return await asyncio.to_thread(self._read)


def _stamp_of(path: Path) -> _Stamp:
    """Return what changes with the file; None where it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
