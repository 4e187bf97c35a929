"""Who waits for whom where the parts share a core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.plan import Planner
from deploy.qdrant_engine.rebuild import step_back
from shared.settings import load_settings


def test_only_the_learner_steps_back(tmp_path: Path) -> None:
    """What is learned from an answer waits for answers; nothing that an answer waits for does."""
    parts = Planner(load_settings({}, None), tmp_path, tmp_path, anywhere=True).plan().parts
    assert [part.name for part in parts if part.server.command[0] == "nice"] == ["learner"]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
def test_who_builds_a_graph_runs_only_when_nobody_else_wants_to() -> None:
    """The kernel has the process in its idle class, and lets whoever wakes up go first."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        step_back(process.pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        process.communicate(b"\n")
