"""Node packages for tests, installed from a lock into a folder of `.local`, once for each lock."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

LOCK = "package-lock.json"


class NotInstalled(Exception):
    """A tool is not there; says how to get it."""


def install_packages(source: Path, folder: Path) -> str:
    """Install the locked packages of `source` into `folder`; return the path of node. Raises NotInstalled."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NotInstalled("npm and node are not on PATH")
    wanted, installed = (source / LOCK).read_bytes(), folder / "installed.json"
    if not installed.is_file() or installed.read_bytes() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", LOCK):
            shutil.copyfile(source / name, folder / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(f"npm ci failed: {done.stderr[-500:]}")
        installed.write_bytes(wanted)
    return node
