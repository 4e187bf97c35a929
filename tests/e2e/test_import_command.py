"""`make import`: into a running stack, and into one that is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local import running
from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums
from shared.clock import SystemClock
from shared.settings import Settings, load_settings
from shared.storage.redis_connection import connect
from shared.storage.redis_posteriors import RedisPosteriorStore
from tests.e2e.conftest import MODELS

GIVEN = {"HOST": "127.0.0.1", "ENABLE_PERSISTENCE": "true"}
CLEAN = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
ARM = "vendor/model"


def command(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.import_scores", "--folder", str(folder), "--anywhere", *words],
        cwd=ROOT, env=CLEAN | settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


async def learned(url: str) -> ArmSums:
    client = connect(Settings(REDIS_URL=url))
    try:
        state = await RedisPosteriorStore(client, recency_days=30.0, clock=SystemClock()).load()
    finally:
        await client.aclose(close_connection_pool=True)
    return state.arms[ARM]


def test_scores_are_imported_while_the_stack_runs_and_when_it_is_stopped() -> None:
    """No address is typed. What was imported before is known, also after a restart; a wrong file changes nothing."""
    with tempfile.TemporaryDirectory(prefix="llm-router-stack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL leaves root, and has to get in all the same
        (folder / "models").symlink_to(MODELS)
        file = folder / "scores.jsonl"
        topics = ("Write a poem about", "Fix this Python function:")
        lines = [{"prompt": f"{topics[at % 2]} number {at}", "model": ARM, "score": 0.75} for at in range(20)]
        file.write_text("\n".join(map(json.dumps, lines)))
        planner = Planner(load_settings(GIVEN, None), folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)
        with Stack(planner) as stack:
            stack.start()
            done = command(folder, str(file), "--weight", "0.25")
            assert done.returncode == 0, done.stderr
            assert "20 prompts with 20 scores of 1 models imported" in done.stdout
            assert f"20  {ARM}" in done.stdout
            assert "100 %" in done.stderr
            sums = asyncio.run(learned(running.addresses(folder)["REDIS_URL"]))
            of = sums.sources[Source.EVAL]
            assert (of.total.labels, of.total.score, sum(one.labels for one in of.kinds.values())) == (5.0, 3.75, 5.0)
            bad = folder / "bad.jsonl"
            bad.write_text('{"prompt": "x"}')
            wrong = command(folder, str(bad))
            assert (wrong.returncode, "bad.jsonl, line 1" in wrong.stderr) == (1, True), wrong.stderr
            assert "Traceback" not in wrong.stderr
            assert command(folder, str(bad), "--source", "user").returncode == 2
            assert "is not a file" in command(folder, str(folder / "missing.jsonl")).stderr
        file.write_text(file.read_text() + "\n" + json.dumps({**lines[0], "prompt": "one more"}))
        done = command(folder, str(file), "--weight", "0.25", **GIVEN)
        assert "1 prompts with 1 scores of 1 models imported; 20 were known" in done.stdout, done.stdout + done.stderr
