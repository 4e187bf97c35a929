"""The wheel of this checkout, built without the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def built_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel into `folder`; return its path."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=project, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel
