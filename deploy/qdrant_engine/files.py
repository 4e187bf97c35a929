"""What is on disk: one folder a collection, with a description and the shard that is current.

    PATH/.lock                              held by the one process that may use PATH
    PATH/collections/<name>/collection.json what the collection is, and which shard holds it
    PATH/collections/<name>/shard-<id>/     the engine's files

The description is written last and atomically: a folder without one was never acknowledged, and a shard that it
does not name is a leftover of a rebuild that did not finish. Both are removed at the start.
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
    """What a collection is. `shard` names the folder that holds its current data.

    Collections of older versions say nothing of their tuning: they have the defaults.
    """

    name: str
    size: int
    distance: str
    shard: str
    tuning: Tuning = field(default_factory=Tuning)


def lock(root: Path) -> IO[bytes]:
    """Take the folder for this process. Raises BlockingIOError when another one has it."""
    root.mkdir(parents=True, exist_ok=True)
    held = (root / ".lock").open("ab")
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of a collection; every name is one path segment."""
    return root / "collections" / quote(name, safe="")


def new_shard(folder: Path) -> Path:
    """Return a fresh path for a shard."""
    return folder / f"shard-{uuid.uuid4().hex}"


def save(folder: Path, description: Description) -> None:
    """Write the description, whole or not at all, whatever dies; when it raises, the old one stands."""
    temporary = folder / f"{_DESCRIPTION}.tmp"
    with temporary.open("wb") as output:
        output.write(orjson.dumps(asdict(description)))
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(folder / _DESCRIPTION)
    with contextlib.suppress(OSError):  # the new one stands already; only a power cut could still undo it
        _sync(folder)


def _sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy(source: Path, target: Path) -> None:
    """Copy a shard without its holes: the engine reserves ten times what it has written so far."""
    shutil.copytree(source, target, copy_function=_copy_file)


def warm(shard: Path) -> None:
    """Read a shard's files, so that they are in memory.

    Closing a shard has the system drop them, and loading it brings back vectors and graph only: each search would wait
    for the disk for most of the payloads that it finds, until all have been found once.
    """
    for path in shard.rglob("*"):
        if path.is_file():
            with path.open("rb") as given:
                for _ in _written(given):
                    pass


def sync_log(shard: Path) -> None:
    """Bring a shard's write-ahead log to the disk. Of a shard that goes away meanwhile nothing is needed any more."""
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
    """Yield what is not a hole, piece by piece, with its place."""
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
    """Return every collection and remove what was left half done."""
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
    """Delete a collection: without its description the rest is a leftover, now or at the next start."""
    (folder / _DESCRIPTION).unlink(missing_ok=True)


def moved(description: Description, shard: Path) -> Description:
    """Return the description with another current shard."""
    return replace(description, shard=shard.name)
