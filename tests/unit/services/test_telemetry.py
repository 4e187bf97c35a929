"""No telemetry: data go only to the model that answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = "import onnxruntime\ntry:\n    onnxruntime.InferenceSession(b'')\nexcept Exception:\n    pass\n"
BYSTANDERS = {"CI", "ORT_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST"}
"""Variables that switch onnxruntime's telemetry off by themselves."""


def files_made_by(code: str, home: Path, project: Path) -> list[Path]:
    """Run Python code with a home folder of its own; return the files that it leaves there."""
    environment = {name: value for name, value in os.environ.items() if name not in BYSTANDERS}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(project)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=home, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("module", ["services.gateway.app", "services.embedder.app", "services.learner.app"])
def test_no_service_lets_onnxruntime_call_home(module: str, tmp_path: Path, project: Path) -> None:
    """onnxruntime marks the machine with an id when it is about to report; inside our processes it never does."""
    assert files_made_by(f"import {module}\n{LOAD}", tmp_path, project) == []
