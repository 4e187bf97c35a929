"""The embedder: texts a second through HTTP, one a request, against fastembed's own loop over all of them at once.

`python -m benchmarks.load.embedding MODEL SECONDS` is that loop, in a process of its own; it prints texts a second, and
texts a second of its processor time.
"""

from __future__ import annotations

import os

# As `services.embedder` does, before numpy is imported: both sides compute on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import asyncio
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import orjson

from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import cpu_s, pin
from benchmarks.load.questions import prompt
from benchmarks.load.rig import cores
from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port, running
from services.embedder.encoder import MINILM, STATIC, load_encoder
from shared.quick_http import QuickHttp

MODELS = ROOT / ".local" / "models"
CALLERS = 32
TEXTS = 512
"""Texts of one call of fastembed's loop, which batches them as it likes."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Texts a second, and texts a second of processor time."""

    per_second: float
    per_core: float


def measure(found: Findings, rounds: int, seconds: float, folder: Path) -> None:
    """Measure both, in turn, for each model; the embedder and the loop each have the tested core for themselves."""
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
    server = Server("embedder", [sys.executable, "-m", "services.embedder"], folder / f"{model}.log", settings)
    server.folder = ROOT
    pairs = []
    with running(server, port):
        pid = server.process.pid if server.process is not None else 0
        pin(pid, (own,))
        os.sched_setaffinity(0, others)
        for _ in range(rounds):
            before = cpu_s(pid)
            texts = asyncio.run(_asked(port, seconds))
            with_http = Rate(texts / seconds, texts / (cpu_s(pid) - before))
            command = ["taskset", "-c", str(own), sys.executable, "-m", "benchmarks.load.embedding", model]
            done = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True, cwd=ROOT)
            per_second, per_core = map(float, done.stdout.split()[-2:])
            pairs.append((with_http, Rate(per_second, per_core)))
    return pairs


_numbers = count(1)


async def _asked(port: int, seconds: float) -> int:
    """Return how many texts came back, asked for by `CALLERS` at once."""
    headers = {"Content-Type": "application/json", "Accept": "application/octet-stream"}
    done = 0
    async with QuickHttp(f"http://127.0.0.1:{port}") as http:
        until = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                body = orjson.dumps({"texts": [prompt(next(_numbers))]})
                reply = await http.request("POST", "/embed", body, headers)
                if reply.status != 200:
                    raise RuntimeError(f"embedder: status {reply.status}")
                done += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done


def main(model: str, seconds: float) -> None:
    """Print what fastembed's own loop does."""
    embedding = load_encoder(model, MODELS, lambda _done, _total: None)._embedding  # noqa: SLF001 - the bare yardstick
    list(embedding.embed([prompt(0)]))
    numbers, texts, began, spent = count(1), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        texts += len(list(embedding.embed([prompt(number) for number in islice(numbers, TEXTS)])))
    print(texts / (time.perf_counter() - began), texts / (time.process_time() - spent))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
