"""Commands that work on the data of this machine: the default folder, and a command's process and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from deploy.local.environment import explicit_settings
from deploy.local.plan import ROOT
from shared.settings import Settings


def default_folder(root: Path = ROOT) -> Path:
    """Return the folder of data, logs and models: `.local` of a checkout, else the user's data folder."""
    if (root / "pyproject.toml").is_file():
        return root / ".local"
    return platformdirs.user_data_path("llm-router", appauthor=False)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the project; the working folder is not on its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def command_environment(settings: Settings, addresses: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command: the user's settings, and the addresses of a stack's own parts."""
    inherited = {name: value for name, value in os.environ.items() if name != "CONFIG_FILE"}
    return inherited | explicit_settings(settings) | {"PYTHONPATH": str(ROOT)} | dict(addresses)
