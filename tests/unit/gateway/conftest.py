"""A world of fakes for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.gateway import World, settings_for


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A gateway's surroundings, all well."""
    return World(settings_for(tmp_path / "spool"))
