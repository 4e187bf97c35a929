"""Rig: the processes of a measurement, each pinned to its core.

The process under test has one core for itself (the last one), whoever asks, answers and helps shares the others. All of
the processes live through the whole run; those that are not asked cost next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.load.processes import kept_to, pin
from benchmarks.load.questions import TOPICS, prompt, question
from benchmarks.load.upstream import MODELS
from deploy.local.plan import ROOT, Planner
from deploy.local.servers import Server, free_port, running
from deploy.local.stack import Stack
from shared.settings import Settings

TAUGHT = 1024
"""Rated requests before the first measurement, so that searches find points and posteriors differ."""


@dataclass
class Rig:
    """Addresses and process ids of the rig."""

    upstream: str
    bare: str
    gateway: str
    redis: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    own_core: int = 0
    other_cores: tuple[int, ...] = ()


def cores() -> tuple[int, tuple[int, ...]]:
    """Return the core of the tested process, and those of all others; with one core they are the same."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], tuple(usable[:-1]) or (usable[-1],)


@contextlib.contextmanager
def rig(stacks: Path | None = None) -> Iterator[Rig]:
    """Start the rig, train the router, and stop the rig at the end; the gateway's profile goes to `stacks`."""
    own, others = cores()
    # The folder is removed last: the processes write into it until they have stopped.
    with (
        kept_to(others),
        tempfile.TemporaryDirectory(prefix="llm-router-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        upstream_port, bare_port = free_port(), free_port()
        upstream = f"http://127.0.0.1:{upstream_port}"
        process = stack.enter_context(server("upstream", folder, upstream_port))
        started = Rig(
            upstream, f"http://127.0.0.1:{bare_port}", "", pids={"upstream": process}, own_core=own, other_cores=others
        )
        started.pids["bare proxy"] = stack.enter_context(
            server("bare_proxy", folder, bare_port, "--upstream", f"{upstream}/v1")
        )
        models = ROOT / ".local" / "models"
        router = stack.enter_context(Stack(Planner(_settings(upstream), folder / "stack", models, anywhere=True)))
        for part in router.plan.parts if stacks else ():
            if part.name == "gateway":
                part.server.command = [sys.executable, "-m", "benchmarks.load.sampler", str(stacks)]
        router.start()
        started.gateway, started.redis = router.plan.gateway_url, router.plan.redis_url
        started.pids |= router.pids()
        for under_test in ("bare proxy", "gateway"):
            pin(started.pids[under_test], (own,))
        _teach(started.gateway)
        yield started


@contextlib.contextmanager
def server(module: str, folder: Path, port: int, *arguments: str) -> Iterator[int]:
    """Run a module of this package on a port; yield its process id."""
    command = [sys.executable, "-m", f"benchmarks.load.{module}", "--port", str(port), *arguments]
    one = Server(module, command, folder / f"{module}.log", folder=ROOT)
    with running(one, port):
        yield one.process.pid if one.process is not None else 0


def _settings(upstream: str) -> Settings:
    """Return default settings with the instant upstream, without limits that a benchmark would reach."""
    return Settings.model_validate(
        {
            "HOST": "127.0.0.1",
            "OPENROUTER_BASE_URL": f"{upstream}/v1",
            "OPENROUTER_API_KEY": "bench",
            "LLM_MODELS": MODELS,
            "DEFAULT_MODEL": MODELS[0],
            "FEEDBACK_RPM": 0,
            "LOG_FORMAT": "json",
        }
    )


def _teach(gateway: str) -> None:
    """Send and rate requests by topic, and wait until most have been learned."""
    for number in range(TAUGHT):
        headers = _post(f"{gateway}/v1/chat/completions", question(prompt(number)))
        score = ((number % len(TOPICS)) * 31 + MODELS.index(headers["x-router-model"]) * 17) % 100 / 100
        _post(f"{gateway}/feedback", orjson.dumps({"request_id": headers["x-request-id"], "score": score}))
    time.sleep(3.0)


def _post(url: str, body: bytes) -> dict[str, str]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return {name.lower(): value for name, value in answer.headers.items()}


def command_of(*parts: str) -> str:
    """Return the first line of a command's output, or `?`."""
    try:
        done = subprocess.run(parts, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "?"
    return ((done.stdout or done.stderr).strip().splitlines() or ["?"])[0]
