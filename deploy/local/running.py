"""File with the addresses of a running stack's own parts, for commands that run beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "running.json"


def note(folder: Path, addresses: Mapping[str, str]) -> None:
    """Write the addresses, by setting."""
    (folder / FILE).write_text(json.dumps(dict(addresses)), encoding="utf-8")


def forget(folder: Path) -> None:
    """Remove the file."""
    (folder / FILE).unlink(missing_ok=True)


def addresses(folder: Path) -> dict[str, str]:
    """Return the addresses, by setting; none where no stack runs."""
    try:
        noted = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(name): str(address) for name, address in noted.items()}
    except (OSError, ValueError, AttributeError):
        return {}
