"""No body stalls the event loop: while a huge one is read and refused, all other requests go on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from shared.interpreter import SWITCH_S
from tests.integration.bad_input.wire import exchange, request
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import serving

LIMIT = 8 * 1024 * 1024
STALL_S = 0.05
BEAT_S = 0.002
HEAD, TAIL = b'{"messages": [{"role": "user", "content": "', b'"}], "pad": 1}'


def text_of(piece: bytes) -> bytes:
    """Return a chat body of nearly the limit whose text repeats `piece`."""
    return HEAD + piece * ((LIMIT - 100) // len(piece)) + TAIL


def list_of(piece: bytes, count: int) -> bytes:
    return HEAD + b'x"}], "pad": [' + b",".join([piece] * count) + b"]}"


BODIES = {
    "escaped-quotes": text_of(b'\\"'),
    "escaped-backslashes": text_of(b"\\\\"),
    "escaped-letters": text_of(b"\\u0041"),
    "surrogate-pairs": text_of(b"\\ud83d\\ude00"),
    "commas": text_of(b","),
    "brackets": text_of(b"["),
    "quotes": b'{"a":' + b'"' * (LIMIT - 10),
    "deep": b'{"a":' + b"[" * (LIMIT - 10),
    "objects": list_of(b'{"a":1}', 24_000),
    "strings-and-escapes": list_of(b'"' + b'\\"' * 120 + b'"', 30_000),
    "long-number": b'{"a":0.' + b"1" * (LIMIT - 100) + b"}",
    "blanks": HEAD + b'x"}]' + b" " * (LIMIT - 100) + b"}",
    "answered": HEAD + b"x" * 1_400_000 + b'"}], "metadata": {"pad": "' + b'\\"' * 3_000_000 + b'"}}',
}
RAW: dict[str, Callable[[], bytes]] = {
    **{name: partial(request, body=body, key=None) for name, body in BODIES.items()},
    "packed": lambda: request(body=gzip.compress(BODIES["escaped-quotes"], 1), key=None, content_encoding="gzip"),
    "bomb": lambda: request(body=gzip.compress(b" " * 50 * LIMIT, 1), key=None, content_encoding="gzip"),
    "byte-by-byte": lambda: (
        request(key=None, drop=["content-length"], transfer_encoding="chunked")
        + b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"pad":"' + b"x" * 50_000 + b'"}')
        + b"0\r\n\r\n"
    ),
}
"""Made in its test: every worker of a parallel run imports this module."""


@pytest.fixture(autouse=True)
def threads_take_turns() -> Iterator[None]:
    """As in a gateway's process."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    yield
    sys.setswitchinterval(before)


def waited_s() -> float:
    """Return how long threads of this process have waited for a processor that others had (Linux)."""
    waited = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has just ended
            waited += int(file.read_text().split()[1])
    return waited / 1e9


class Heartbeat:
    """Measures how late the loop is by its own fault: a busy machine is not a stall."""

    worst_s = 0.0

    async def beat(self) -> None:
        while True:
            due, waited = time.perf_counter() + BEAT_S, waited_s()
            await asyncio.sleep(BEAT_S)
            late = time.perf_counter() - due
            if late > STALL_S / 2:
                late -= waited_s() - waited
            self.worst_s = max(self.worst_s, late)


@pytest.mark.parametrize("name", RAW)
async def test_the_loop_goes_on(tmp_path: Path, name: str) -> None:
    """Row 9, and the figure of the catalogue: no single input stalls the loop for 50 ms."""
    world = World(settings_for(tmp_path, MAX_BODY_BYTES=LIMIT))
    worst, raw = [], RAW[name]()
    async with serving(world):
        for _ in range(30):  # the best of them says what the input costs, the others what else the machine does
            gc.collect()
            heart = Heartbeat()
            beating = asyncio.create_task(heart.beat())
            answer = await asyncio.to_thread(exchange, world.settings.PORT, raw, timeout_s=20)
            await asyncio.sleep(2 * BEAT_S)
            beating.cancel()
            assert answer is not None
            assert answer.status in ({200} if name == "answered" else {200, 400, 413}), answer.body
            worst.append(heart.worst_s)
            if heart.worst_s < STALL_S:
                break
    assert min(worst) < STALL_S, worst
