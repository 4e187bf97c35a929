"""Embedder benchmark: texts per second over HTTP, one per request, against fastembed's loop over all texts.

Both have a process of their own, so that neither depends on what the bench has in its memory by then:
`python -m benchmarks.load.embedding loop MODEL SECONDS` is that loop, and prints texts a second, and texts a second of
its processor time; `... ask PORT SECONDS FIRST` are the callers, whose texts begin at number FIRST, and prints how many
texts came back.
"""

from __future__ import annotations

import os

# Before numpy is imported, as in `services.embedder`: both sides compute on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import orjson

from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import cpu_s
from benchmarks.load.questions import prompt
from benchmarks.load.rig import cores
from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port, running
from services.embedder.encoder import MINILM, STATIC, load_encoder
from shared.quick_http import QuickHttp

MODELS = ROOT / ".local" / "models"
CALLERS = 32
TEXTS = 512
"""Texts per call of fastembed's loop, which chooses its own batches."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Texts per second, and texts per second of processor time."""

    per_second: float
    per_core: float


def measure(found: Findings, rounds: int, seconds: float, folder: Path) -> None:
    """Measure both in turn for each model, each alone on the tested core."""
    rows = []
    for model in (STATIC, MINILM):
        print(f"embedder: {model}", flush=True)
        pairs = _rates(model, rounds, seconds, folder)
        ratio = statistics.median(http.per_core / alone.per_core for http, alone in pairs)
        found.figures[f"embedder {model}"] = ratio
        figures = [
            statistics.median(figure)
            for rates in zip(*pairs, strict=True)
            for figure in ([rate.per_second for rate in rates], [rate.per_core for rate in rates])
        ]
        rows.append((model, *(f"{figure:,.0f}" for figure in figures), f"{ratio:.2f}"))
    found.more.append(
        Table(
            "Embedder",
            f"Short texts that it has not seen; by HTTP {CALLERS} callers at once, one text a request. The callers "
            "share a core with the rest of the machine and may be what limits texts a second; per core is texts for "
            "one second of the processor time of the process under test.",
            (
                *("model", "by HTTP, texts/s", "by HTTP, per core", "fastembed's own loop, texts/s"),
                *("fastembed's own loop, per core", "ratio per core"),
            ),
            rows,
        )
    )


def _rates(model: str, rounds: int, seconds: float, folder: Path) -> list[tuple[Rate, Rate]]:
    own, others = cores()
    port = free_port()
    settings = {"EMBEDDER_HOST": "127.0.0.1", "EMBEDDER_PORT": str(port), "EMBEDDING_MODEL": model,
                "EMBED_CACHE_SIZE": "0", "MODEL_CACHE_DIR": str(MODELS)}  # fmt: skip
    # On its core from the start: it creates one thread per visible core.
    command = [*_on((own,)), sys.executable, "-m", "services.embedder"]
    server = Server("embedder", command, folder / f"{model}.log", settings)
    server.folder = ROOT
    pairs = []
    with running(server, port):
        pid = server.process.pid if server.process is not None else 0
        first = 1
        for _ in range(rounds):
            before = cpu_s(pid)
            (texts,) = _run("ask", str(port), str(seconds), str(first), cores=others)
            with_http = Rate(texts / seconds, texts / (cpu_s(pid) - before))
            first += int(texts) + CALLERS
            pairs.append((with_http, Rate(*_run("loop", model, str(seconds), cores=(own,)))))
    return pairs


def _run(*arguments: str, cores: Iterable[int]) -> list[float]:
    """Run this module on `cores`; return its output."""
    command = [*_on(cores), sys.executable, "-m", __name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return [float(figure) for figure in done.stdout.split()]


def _on(cores: Iterable[int]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores))]


async def _asked(port: int, seconds: float, first: int) -> int:
    """Return the number of texts embedded for `CALLERS` concurrent callers."""
    numbers = count(first)
    headers = {"Content-Type": "application/json", "Accept": "application/octet-stream"}
    done = 0
    async with QuickHttp(f"http://127.0.0.1:{port}") as http:
        until = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                body = orjson.dumps({"texts": [prompt(next(numbers))]})
                reply = await http.request("POST", "/embed", body, headers)
                if reply.status != 200:
                    raise RuntimeError(f"embedder: status {reply.status}")
                done += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done


def ask(port: str, seconds: str, first: str) -> None:
    """Print the number of texts that an embedder returned."""
    print(asyncio.run(_asked(int(port), float(seconds), int(first))))


def loop(model: str, seconds: str) -> None:
    """Print the speed of fastembed's own loop."""
    embedding = load_encoder(model, MODELS, lambda _done, _total: None)._embedding  # noqa: SLF001 - the baseline without our code
    list(embedding.embed([prompt(0)]))
    numbers, texts, began, spent = count(1), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < float(seconds):
        texts += len(list(embedding.embed([prompt(number) for number in islice(numbers, TEXTS)])))
    print(texts / (time.perf_counter() - began), texts / (time.process_time() - spent))


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(*sys.argv[2:])
    else:
        loop(*sys.argv[2:])
