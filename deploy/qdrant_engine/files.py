"""Files of the engine: one folder per collection, with a description and the current shard.

    PATH/.lock                              locked by the process that uses PATH
    PATH/collections/<name>/collection.json description of the collection, and its current shard
    PATH/collections/<name>/shard-<id>/     the engine's files

The description is written last and atomically. A folder without one was never acknowledged, and a shard that it does
not name is left from an interrupted rebuild. Both are removed at the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO
from urllib.parse import quote

import orjson

from deploy.qdrant_engine.tuning import Tuning

_DESCRIPTION = "collection.json"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Description:
    """Description of a collection. `shard` is the name of the folder with its current data.

    Descriptions written by older versions have no tuning: it is the default.
    """

    name: str
    size: int
    distance: str
    shard: str
    tuning: Tuning = field(default_factory=Tuning)


def lock(root: Path) -> IO[bytes]:
    """Lock the folder for this process. Raises BlockingIOError when another process has it."""
    root.mkdir(parents=True, exist_ok=True)
    held = (root / ".lock").open("ab")
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of a collection, whose quoted name is one path segment."""
    return root / "collections" / quote(name, safe="")


def new_shard(folder: Path) -> Path:
    """Return a new path for a shard."""
    return folder / f"shard-{uuid.uuid4().hex}"


def save(folder: Path, description: Description) -> None:
    """Write the description atomically; when this raises, the old one is unchanged."""
    temporary = folder / f"{_DESCRIPTION}.tmp"
    with temporary.open("wb") as output:
        output.write(orjson.dumps(asdict(description)))
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(folder / _DESCRIPTION)
    with contextlib.suppress(OSError):  # the new one is in place; only a power cut could still undo it
        _sync(folder)


def _sync(path: Path) -> None:
    """Sync a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy(source: Path, target: Path) -> None:
    """Copy a shard as sparse files: the engine reserves ten times what it has written."""
    shutil.copytree(source, target, copy_function=_copy_file)


def warm(shard: Path) -> None:
    """Read a shard's files into the page cache.

    Closing a shard drops them from it, and loading reads vectors and graph only. Without this, searches would wait for
    the disk for each payload that they find the first time.
    """
    for path in shard.rglob("*"):
        if path.is_file():
            with path.open("rb") as given:
                for _ in _written(given):
                    pass


def sync_log(shard: Path) -> None:
    """Sync a shard's write-ahead log to disk; a shard that is deleted meanwhile is ignored."""
    with contextlib.suppress(FileNotFoundError):
        for path in (shard / "wal").iterdir():
            _sync(path)


def _copy_file(source: str, target: str) -> None:
    with Path(source).open("rb") as given, Path(target).open("wb") as taken:
        taken.truncate(os.fstat(given.fileno()).st_size)
        for at, piece in _written(given):
            taken.seek(at)
            taken.write(piece)


def _written(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the written parts of a sparse file in pieces, each with its offset."""
    size, end = os.fstat(file.fileno()).st_size, 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # a hole up to the end
            return
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        file.seek(start)
        for at in range(start, end, _PIECE):
            yield at, file.read(min(_PIECE, end - at))


def read_all(root: Path) -> list[tuple[Path, Description]]:
    """Return every collection; remove incomplete folders and shards."""
    found = []
    for folder in sorted((root / "collections").glob("*")):
        described = folder / _DESCRIPTION
        if not described.exists():
            shutil.rmtree(folder, ignore_errors=True)
            continue
        description = _read(described.read_bytes())
        for shard in folder.glob("shard-*"):
            if shard.name != description.shard:
                shutil.rmtree(shard, ignore_errors=True)
        found.append((folder, description))
    return found


def _read(raw: bytes) -> Description:
    stored = orjson.loads(raw)
    return Description(**{**stored, "tuning": Tuning(**stored.get("tuning", {}))})


def forget(folder: Path) -> None:
    """Delete a collection's description; the next start removes the rest."""
    (folder / _DESCRIPTION).unlink(missing_ok=True)


def moved(description: Description, shard: Path) -> Description:
    """Return the description with another current shard."""
    return replace(description, shard=shard.name)
