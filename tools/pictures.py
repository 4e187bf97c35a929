"""Command `make pictures`: the dashboard after the demo, in a real Chromium, as a picture for the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.local.demo.__main__ import main as demo
from tests.support.node_packages import NotInstalled, install_packages

ROOT = Path(__file__).resolve().parents[1]
SOURCE, FOLDER = ROOT / "tests" / "e2e" / "browser", ROOT / ".local" / "browser"
PICTURE = ROOT / "docs" / "images" / "dashboard-models.png"
LARGEST_KB = 300


def main(arguments: list[str]) -> int:
    """Run the demo with `arguments`, take the picture at its end, and return the exit code."""
    try:
        node = install_packages(SOURCE, FOLDER)
    except NotInstalled as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    for script in SOURCE.glob("*.mjs"):  # beside their node_modules
        (FOLDER / script.name).write_bytes(script.read_bytes())

    def take(address: str) -> None:
        subprocess.run([node, str(FOLDER / "pictures.mjs"), address, str(PICTURE)], check=True, timeout=300)

    code = demo(arguments, at_end=take)
    if PICTURE.stat().st_size > LARGEST_KB * 1000:
        print(f"pictures: {PICTURE.name} is larger than {LARGEST_KB} KB", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
