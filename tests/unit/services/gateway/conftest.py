"""A world of fakes for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fakes.gateway import World, settings_for
from tests.unit.services.gateway.accounts import FREE, world_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A gateway's surroundings, all well."""
    return World(settings_for(tmp_path / "spool"))


@pytest.fixture
def defaults(tmp_path: Path) -> World:
    """Free models, and one that costs money as the last resort."""
    return world_of(tmp_path, ",".join(FREE), "a/dear")


@pytest.fixture
def paid(tmp_path: Path) -> World:
    """Two models that cost money."""
    return world_of(tmp_path, "a/dear,b/cheap", "a/dear")
