"""`make export` and `make evaluate DATABASE=1`: while `make run` runs, and after it was stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import Settings, load_settings
from tests.e2e.conftest import MODELS

GIVEN = {"HOST": "127.0.0.1", "ENABLE_PERSISTENCE": "true"}
"""What `make run` gets. The commands do not: they are typed in another terminal."""
CLEAN = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}


def command(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.history", "--folder", str(folder), *words],
        cwd=ROOT, env=CLEAN | settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def exported(folder: Path, to: Path) -> list[str]:
    done = command(folder, "services.learner", "export", "--out", str(to))
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["public_id"] for line in to.read_text().splitlines()]


def ask(url: str, public_id: str) -> None:
    headers = {"Content-Type": "application/json", "X-Request-ID": public_id}
    chat = {"messages": [{"role": "user", "content": "Hello"}]}
    for path, body in (("/chat/completions", chat), ("/feedback", {"request_id": public_id, "score": 0.5})):
        request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)  # noqa: S310
        urllib.request.urlopen(request, timeout=20).close()  # noqa: S310 - our own server


def test_the_history_can_be_read_while_the_stack_runs_and_when_it_is_stopped() -> None:
    """No address is typed; where there is no history, one line says what to set."""
    with tempfile.TemporaryDirectory(prefix="llm-router-stack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL leaves root, and has to get in all the same
        planner = Planner(load_settings(GIVEN, None), folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)
        with Stack(planner) as stack:
            stack.start()
            ask(stack.plan.gateway_url, "kept")
            deadline = time.monotonic() + 30
            while exported(folder, folder / "running.jsonl") != ["kept"]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            judged = command(folder, "benchmarks.evaluate", "--database", "--uniform")
            assert (judged.returncode, "1 requests count" in judged.stdout) == (0, True), judged.stdout + judged.stderr
        assert exported(folder, folder / "stopped.jsonl") == ["kept"]
        assert "1 requests count" in command(folder, "benchmarks.evaluate", "--database").stdout
        refused = command(folder, "services.learner", "export", OPENROUTER_API_KEY="of-another-upstream")
        assert (refused.returncode, "ENABLE_PERSISTENCE=true" in refused.stderr) == (2, True), refused.stderr
        assert "Traceback" not in refused.stderr
