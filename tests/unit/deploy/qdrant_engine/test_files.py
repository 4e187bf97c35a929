"""Copies of the local engine's files: the same bytes, without the room that is only reserved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.qdrant_engine import files

MEGABYTE = 1 << 20


def written(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """Write a file of holes with these pieces at their places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for at, piece in pieces.items():
            file.seek(at)
            file.write(piece)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, {}),
        (5, {0: b"short"}),
        (8 * MEGABYTE, {}),
        (8 * MEGABYTE, {0: b"begin", 3 * MEGABYTE: os.urandom(MEGABYTE + 17), 8 * MEGABYTE - 3: b"end"}),
        (3 * MEGABYTE + 1, {0: os.urandom(3 * MEGABYTE + 1)}),
    ],
)
def test_a_copy_has_the_same_bytes_and_takes_no_more_room(tmp_path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """Empty, without a hole, a hole alone, holes between, and more than is read at a time."""
    source, target = tmp_path / "shard" / "deep" / "file", tmp_path / "copy" / "deep" / "file"
    written(source, size, pieces)
    files.copy(tmp_path / "shard", tmp_path / "copy")
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks + 16
