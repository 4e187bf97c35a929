"""The embedder: texts a second through HTTP, one a request, against fastembed's own loop over all of them at once.

`python -m benchmarks.load.embedding MODEL SECONDS` is that loop, in a process of its own; it prints texts a second.
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
from itertools import count, islice
from pathlib import Path

import orjson

from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import pin
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


def measure(found: Findings, rounds: int, seconds: float, folder: Path) -> None:
    """Measure both, in turn, for each model; the embedder and the loop each have the tested core for themselves."""
    rows = []
    for model in (STATIC, MINILM):
        print(f"embedder: {model}", flush=True)
        with_http, alone = _rates(model, rounds, seconds, folder)
        ratio = statistics.median(one / other for one, other in zip(with_http, alone, strict=True))
        found.figures[f"embedder {model}"] = ratio
        rows.append((model, f"{statistics.median(with_http):,.0f}", f"{statistics.median(alone):,.0f}", f"{ratio:.2f}"))
    found.more.append(
        Table(
            "Embedder",
            f"Texts a second on one core, short texts that it has not seen; by HTTP {CALLERS} callers at once, one "
            "text a request.",
            ("model", "by HTTP", "fastembed's own loop", "ratio"),
            rows,
        )
    )


def _rates(model: str, rounds: int, seconds: float, folder: Path) -> tuple[list[float], list[float]]:
    own, others = cores()
    port = free_port()
    settings = {"EMBEDDER_HOST": "127.0.0.1", "EMBEDDER_PORT": str(port), "EMBEDDING_MODEL": model,
                "EMBED_CACHE_SIZE": "0", "MODEL_CACHE_DIR": str(MODELS)}  # fmt: skip
    server = Server("embedder", [sys.executable, "-m", "services.embedder"], folder / f"{model}.log", settings)
    server.folder = ROOT
    with_http, alone = [], []
    with running(server, port):
        if server.process is not None:
            pin(server.process.pid, (own,))
        os.sched_setaffinity(0, others)
        for _ in range(rounds):
            with_http.append(asyncio.run(_asked(port, seconds)))
            command = ["taskset", "-c", str(own), sys.executable, "-m", "benchmarks.load.embedding", model]
            done = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True, cwd=ROOT)
            alone.append(float(done.stdout.split()[-1]))
    return with_http, alone


_numbers = count(1)


async def _asked(port: int, seconds: float) -> float:
    """Return texts a second, asked for by `CALLERS` at once."""
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
    return done / seconds


def main(model: str, seconds: float) -> None:
    """Print texts a second of fastembed's own loop."""
    embedding = load_encoder(model, MODELS, lambda _done, _total: None)._embedding  # noqa: SLF001 - the bare yardstick
    list(embedding.embed([prompt(0)]))
    numbers, texts, began = count(1), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        texts += len(list(embedding.embed([prompt(number) for number in islice(numbers, TEXTS)])))
    print(texts / (time.perf_counter() - began))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
