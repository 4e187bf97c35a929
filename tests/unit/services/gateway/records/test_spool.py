"""The spool: bounded, private, readable after kill -9, and exact about damaged and finished files."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.gateway.records.spool import SUFFIX, Spool, SpoolFull
from shared.schemas.storage import NewRecord
from tests.support.sample_records import a_new_record


def entry(number: int = 0) -> NewRecord:
    return a_new_record(1_795_000_000.0 + number, arm="a/small", cost_usd=0.1)


def test_a_damaged_line_is_left_out(tmp_path: Path) -> None:
    """A line whose checksum is not its content's is no record, though it may look like one."""
    with closing(Spool(tmp_path, max_bytes=1_000_000)) as spool:
        entries = [entry(1), entry(2)]
        spool.append(entries)
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    first, second = file.read_bytes().splitlines(keepends=True)
    assert b'"a/small"' in first
    file.write_bytes(first.replace(b'"a/small"', b'"a/smell"') + second)
    with closing(Spool(tmp_path, max_bytes=1_000_000)) as spool:
        spool.adopt()
        segment = spool.next_segment()
        assert segment is not None
        assert [each.record.id for each in spool.read(segment)] == [entries[1].record.id]


def test_a_file_that_its_owner_finishes_meanwhile_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner stores its records and deletes it between our open and our lock."""
    with closing(Spool(tmp_path, max_bytes=1_000_000)) as owner:
        owner.append([entry(1)])
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    lock = fcntl.flock

    def late(*arguments: Any) -> None:
        file.unlink()
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with closing(Spool(tmp_path, max_bytes=1_000_000)) as spool:
        assert spool.adopt() == 0


def test_the_spool_survives_kill_9_and_a_torn_last_line(tmp_path: Path) -> None:
    """What was acknowledged is read by the next process, whatever the crash left behind it."""
    killed = Spool(tmp_path, max_bytes=1_000_000)
    killed.append([entry(1), entry(2)])
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    with file.open("ab") as torn:
        torn.write(b'deadbeef {"record": {"id": "01')
    assert Spool(tmp_path, max_bytes=1).adopt() == 0, "a living process is not robbed"
    killed.close()  # as the kernel does with the locks of a killed process

    successor = Spool(tmp_path, max_bytes=1_000_000)
    assert successor.adopt() == 3
    segment = successor.next_segment()
    assert segment is not None
    assert [each.record.outcome.cost_usd for each in successor.read(segment)] == [0.1, 0.1]
    successor.done(segment)
    assert successor.next_segment() is None
    successor.close()


def test_files_of_the_spool_are_private(tmp_path: Path) -> None:
    """They hold vectors of prompts and owners: no other user of the machine may read them, whatever the umask is."""
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool", max_bytes=1_000_000)
        spool.append([entry(1)])
        spool.close()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()}
    assert modes == {0o600}


def test_the_spool_is_bounded_on_disk(tmp_path: Path) -> None:
    """SPOOL_MAX_BYTES holds; at the bound it refuses instead of growing."""
    spool = Spool(tmp_path, max_bytes=20_000)
    for _ in range(5):
        spool.append([entry(1)])
    size = spool.size
    with pytest.raises(SpoolFull):
        spool.append([entry(number) for number in range(50)])
    assert spool.size == size
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20_000
    spool.close()


def test_a_folder_that_cannot_be_made_is_a_full_spool(tmp_path: Path) -> None:
    """A disk that refuses is the recorder's business, not the request's."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolFull):
        Spool(tmp_path / "file" / "spool", max_bytes=1_000_000).append([entry()])
