"""The queue of log lines: `write` never fails and never waits; lost lines are counted and reported."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator

import pytest

from shared.line_writer import CLOSED, LineWriter

CLOSE_S = 2.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe; its ends may be closed by the test."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def read_until(descriptor: int, ending: bytes) -> bytes:
    """Read until what has come ends so."""
    read = b""
    while not read.endswith(ending):
        read += os.read(descriptor, 65_536)
    return read


def test_lines_keep_their_order_and_come_soon(pipe: tuple[int, int]) -> None:
    """What several threads write comes whole; the lines of each are in order, the first within 50 ms."""
    reading, writing = pipe
    writer = LineWriter(writing)
    took_s = []
    for _ in range(5):
        began = time.monotonic()
        writer.write(b"first\n")
        assert os.read(reading, 100) == b"first\n"
        took_s.append(time.monotonic() - began)
    assert min(took_s) < 0.25, "a busy machine may take longer than 50 ms, but not this long, and not each time"

    def write(name: int) -> None:
        for number in range(200):
            writer.write(b"%d %d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    lines = b""
    while lines.count(b"\n") < 800:
        lines += os.read(reading, 65_536)
    for thread in threads:
        thread.join()
    rows = [tuple(map(int, line.split())) for line in lines.splitlines()]
    for name in range(4):
        assert [number for owner, number in rows if owner == name] == list(range(200))
    assert writer.dropped == 0


def test_a_stalled_reader_costs_lines_that_are_counted_and_said(pipe: tuple[int, int]) -> None:
    """The queue is bounded by bytes; every line is either read or counted, and one line says how many are missing."""
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    writer = LineWriter(writing, most_bytes=10_000)
    line = b"x" * 99 + b"\n"
    for _ in range(90):
        writer.write(line)
    time.sleep(0.2)  # the thread is stuck now
    began = time.monotonic()
    for _ in range(3000):
        writer.write(line)
    assert time.monotonic() - began < 1.0, "writing does not wait"
    assert 2900 <= writer.dropped <= 2901
    writer.close(0.1)
    assert time.monotonic() - began < 2.0, "the end of the process does not wait for ever"

    writer.write(line)  # the queue is still full: lost as well
    kept, read = 3091 - writer.dropped, b""
    while read.count(b"\n") < kept + 1:
        read += os.read(reading, 65_536)
    assert read.count(line) == kept
    assert read.count(b"%d lines were lost: they could not be written\n" % writer.dropped) == 1
    writer.write(b"after\n")
    assert os.read(reading, 65_536) == b"after\n"


def test_a_reader_that_is_gone_costs_its_lines_only(pipe: tuple[int, int]) -> None:
    """EPIPE at each write: all lines are counted."""
    reading, writing = pipe
    os.close(reading)
    writer = LineWriter(writing)
    for _ in range(50):
        writer.write(b"line\n")
    writer.close(CLOSE_S)
    assert writer.dropped == 50


def test_a_closed_stream_costs_its_lines_only() -> None:
    """Where standard error was closed at the start, all lines are counted."""
    writer = LineWriter(CLOSED)
    for _ in range(50):
        writer.write(b"line\n")
    writer.close(CLOSE_S)
    assert writer.dropped == 50


def test_a_full_disk_costs_the_lines_that_it_refuses(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    """A line that was cut is ended before the next begins; once there is room, one line says how many are missing."""
    reading, writing = pipe
    write, room = os.write, [8]

    def bounded(descriptor: int, data: bytes | memoryview) -> int:
        if descriptor != writing or room[0] < 0:
            return write(descriptor, data)
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0], taken = 0, min(room[0], len(data))
        return write(descriptor, data[:taken])

    monkeypatch.setattr(os, "write", bounded)
    writer = LineWriter(writing)
    for number in range(3):
        writer.write(b"line %d\n" % number)
    writer.close(CLOSE_S)
    assert writer.dropped == 2
    room[0] = -1
    writer.write(b"again\n")
    said = read_until(reading, b"written\n")
    assert said == b"line 0\nl\nagain\n2 lines were lost: they could not be written\n"


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    """Another process may change the mode of a shared pipe: a full one is waited for, not an error."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    for _ in range(3000):
        writer.write(b"x" * 99 + b"\n")
    read = b""
    while len(read) < 300_000:
        read += os.read(reading, 65_536)
    assert writer.dropped == 0
