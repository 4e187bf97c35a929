"""Priorities of the parts where they share a core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.local.plan import Planner
from deploy.qdrant_engine.rebuild import lower_priority
from shared.settings import load_settings


def test_only_the_learner_steps_back(tmp_path: Path) -> None:
    """What is learned from an answer waits for answers; nothing that an answer waits for does."""
    parts = Planner(load_settings({}, None), tmp_path, tmp_path, anywhere=True).plan().parts
    assert [part.name for part in parts if part.server.command[0] == "nice"] == ["learner"]


def test_a_process_that_builds_a_graph_has_low_priority() -> None:
    """The lowest priority, and not the kernel's idle class, whose processes Linux was seen to clear up for minutes."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lower_priority(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        if hasattr(os, "sched_getscheduler"):
            assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        process.communicate(b"\n")
