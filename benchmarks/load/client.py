"""Closed-loop load client: each connection sends its next request when it has the response.

`python -m benchmarks.load.client` prints one JSON object: answers a second, latencies in milliseconds, failures. It is
a process of its own, so that it can be kept off the core of what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.load.questions import REPEATED, prompt, question

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
LAST_CHUNK = b"0\r\n\r\n"


class Asker(asyncio.Protocol):
    """One connection that sends requests forever, and times each response to its first body byte and to its last."""

    def __init__(self, next_request: Callable[[], bytes], tally: Tally) -> None:
        self._next_request = next_request
        self._tally = tally
        self._buffer = bytearray()
        self._asked = 0.0
        self._first = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not asyncio's classes
        self._ask()

    def _ask(self) -> None:
        if self._transport is not None:
            self._first = 0.0
            self._buffer.clear()
            self._asked = time.perf_counter()
            self._transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        """Time a response, and send the next request."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if not self._first and len(self._buffer) > end + 4:
            self._first = time.perf_counter()
        length = _LENGTH.search(self._buffer, 0, end)
        body = len(self._buffer) - end - 4
        # A head may end as the last chunk does: "...: 10", and an empty line.
        whole = body >= int(length[1]) if length else body > 0 and self._buffer.endswith(LAST_CHUNK)
        if whole:
            now = time.perf_counter()
            self._tally.add(now - self._asked, self._first - self._asked, ok=self._buffer.startswith(b"HTTP/1.1 200"))
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Count a broken connection."""
        self._transport = None
        self._tally.lost += 1


class Tally:
    """Measurements since `counting` was set."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self.counting = False
        self.enough = asyncio.Event()
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.failed = 0
        self.lost = 0
        self.all_answers = 0

    def add(self, latency_s: float, first_s: float, *, ok: bool) -> None:
        """Add one response."""
        self.all_answers += 1
        if self.all_answers == self._most:
            self.enough.set()
        if self.counting and ok:
            self.latencies.append(latency_s)
            self.firsts.append(first_s)
        elif self.counting:
            self.failed += 1

    def report(self, seconds: float) -> dict[str, float]:
        """Return the results."""
        latency, first = np.array(self.latencies or [np.nan]) * 1000, np.array(self.firsts or [np.nan]) * 1000
        return {
            "answers": len(self.latencies),
            "all_answers": self.all_answers,
            "per_second": len(self.latencies) / seconds,
            "p50_ms": float(np.percentile(latency, 50)),
            "p99_ms": float(np.percentile(latency, 99)),
            "first_p50_ms": float(np.percentile(first, 50)),
            "failed": self.failed + self.lost,
        }


def requests(options: argparse.Namespace) -> Iterator[bytes]:
    """Yield HTTP requests forever: `unique` prompts from number `start` on, or `repeated` ones."""
    parts, headers, repeated = urlsplit(options.url), options.headers, options.kind == "repeated"
    more = "".join(f"{line.strip()}\r\n" for line in headers.split("|") if line)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{more}"
    for number in count(options.start):
        text = prompt(number % REPEATED if repeated else number)
        body = question(text, model=options.model, chunks=options.chunks)
        yield b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Send load to `options.url`; return the results."""
    tally, parts = Tally(options.answers), urlsplit(options.url)
    stream = requests(options)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Asker(stream.__next__, tally), parts.hostname, parts.port)
        for _ in range(options.connections)
    ]
    await asyncio.sleep(options.warm_up)
    tally.counting, began = True, time.perf_counter()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None if options.answers else options.seconds):
            await tally.enough.wait()
    tally.counting, seconds = False, time.perf_counter() - began
    report = tally.report(seconds)
    for transport, _ in made:
        transport.abort()
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--answers", type=int, default=0, help="stop after this number of responses instead of a time")
    parser.add_argument("--warm-up", type=float, default=0.3)
    parser.add_argument("--kind", choices=("unique", "repeated"), default="unique")
    parser.add_argument("--model")
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--headers", default="", help="additional headers, separated by |")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))
