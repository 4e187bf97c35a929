"""Entry point of the wheel, installed as `llm_router/__init__.py`.

The packages of the project have short names (`services`, `shared`). The wheel keeps them in `llm_router/app`, off the
import path, so that they collide with nothing else in the environment. Here that folder becomes importable.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "app"))
    from deploy.command_line import main as run_command  # noqa: PLC0415 - importable only now

    run_command()
