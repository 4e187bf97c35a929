"""File with the database address of a running stack, for commands on the history that run beside it."""

from __future__ import annotations

import json
from pathlib import Path

FILE = "running.json"


def note(folder: Path, database_url: str) -> None:
    """Write the address; empty when the stack has no PostgreSQL of its own."""
    (folder / FILE).write_text(json.dumps({"database_url": database_url}), encoding="utf-8")


def forget(folder: Path) -> None:
    """Remove the file."""
    (folder / FILE).unlink(missing_ok=True)


def database_url(folder: Path) -> str:
    """Return the address of the running stack's database, or an empty string."""
    try:
        return str(json.loads((folder / FILE).read_text(encoding="utf-8"))["database_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
