"""Embedder, learner, local Qdrant engine and `make run` survive the end of the process that reads their log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from deploy.local.servers import Server, free_port
from services.embedder.encoder import STATIC
from tests.support.embedder_rig import MODEL_CACHE, real_encoder

CLOSED, FULL = "2>&-", "2>/dev/full"


def server_of(name: str, port: int, folder: Path, redirection: str) -> Server:
    """Return a process whose standard error goes elsewhere."""
    settings = {
        "EMBEDDER_HOST": "127.0.0.1", "EMBEDDER_PORT": str(port), "MODEL_CACHE_DIR": str(MODEL_CACHE),
        "LEARNER_HOST": "127.0.0.1", "LEARNER_PORT": str(port), "REDIS_URL": "redis://127.0.0.1:9/0",
        "LOG_FORMAT": "json",
    }  # fmt: skip
    module = ["deploy.qdrant_engine", "--port", str(port), "--path", str(folder / "data")] if name == "qdrant" else []
    command = [sys.executable, "-m", *(module or [f"services.{name}"])]
    return Server(name, ["sh", "-c", f'exec "$@" {redirection}', "sh", *command], folder / "log", settings)


def answer(url: str, body: bytes | None = None) -> str:
    """Return what a URL answers."""
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as response:  # noqa: S310
        return str(response.read().decode())


def lines_dropped(port: int) -> float:
    """Return the metric."""
    text = answer(f"http://127.0.0.1:{port}/metrics")
    found = re.search(r"^llm_router_log_lines_dropped_total (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("redirection", [CLOSED, FULL])
@pytest.mark.parametrize("name", ["embedder", "learner", "qdrant"])
def test_a_part_without_a_log_serves_and_counts(name: str, redirection: str, tmp_path: Path) -> None:
    """It starts, answers, counts the lines that are lost, and ends with 0."""
    real_encoder(STATIC)  # distilled now if never before
    port = free_port()
    server = server_of(name, port, tmp_path, redirection)
    server.start()
    try:
        server.wait_for_port(port)
        if name == "qdrant":
            assert "version" in answer(f"http://127.0.0.1:{port}/")
        else:
            deadline = time.monotonic() + 5
            while not lines_dropped(port) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert lines_dropped(port) >= 1
        if name == "embedder":
            assert "vectors" in answer(f"http://127.0.0.1:{port}/embed", b'{"texts": ["hello"]}')
        assert server.stop() == 0
    finally:
        server.kill()


SHOWN = """
import sys, time
from shared.standard_streams import protect
protect(stdout=True)
from rich.console import Console
from deploy.local.terminal import say
for number in range(3000):
    say("x" * 100)
Console().print("ready")
time.sleep(0.1)
print("to the end", file=sys.stderr)
"""


@pytest.mark.parametrize("stdout", ["gone", "stalled", "closed", "full"])
def test_the_local_stack_outlives_its_terminal(stdout: str, project: Path) -> None:
    """`make run | head` and a terminal that does not read: what is shown is lost, the stack goes on."""
    reading, writing = os.pipe()
    if stdout == "gone":
        os.close(reading)
    redirection = {"closed": ">&-", "full": ">/dev/full"}.get(stdout, f">&{writing}")
    try:
        done = subprocess.run(
            ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-c", SHOWN],
            env={**os.environ, "PYTHONPATH": str(project)}, pass_fds=(writing,), stderr=subprocess.PIPE, timeout=30,
            check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
        if stdout != "gone":
            os.close(reading)
    assert (done.returncode, done.stderr) == (0, b"to the end\n")
