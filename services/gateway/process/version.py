"""Version of this program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "learning-llm-router"


def _installed() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # run from a checkout, as the local stack and the image do
        return "0.1.0"


VERSION = _installed()
