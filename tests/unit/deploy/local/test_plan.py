"""The plan of a local stack: order of stopping, and ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.plan import LOOPBACK, Planner
from deploy.local.ports import PortChooser
from deploy.local.servers import free_port
from shared.errors import SettingsError
from shared.settings import load_settings


def test_a_part_stops_before_those_that_it_needs(tmp_path: Path) -> None:
    """The gateway writes its last records while the stores still run, and the learner comes before them, too."""
    settings = load_settings({"ENABLE_PERSISTENCE": "true"}, None)
    plan = Planner(settings, tmp_path, tmp_path, anywhere=True).plan()
    parts = {part.name: part for part in plan.parts}
    early = [(part.name, needed) for part in parts.values() for needed in part.after]
    assert early
    assert [pair for pair in early if parts[pair[0]].stop_order >= parts[pair[1]].stop_order] == []
    assert parts["learner"].stop_order < parts["postgres"].stop_order


def test_two_parts_do_not_get_the_same_port() -> None:
    """A port is given once, also while nothing listens on it yet; a second request for it is an error."""
    said: list[str] = []
    ports, wanted = PortChooser(said.append), free_port()
    first = ports.choose("the first", LOOPBACK, wanted, fixed=None)
    assert (first, said) == (wanted, [])
    second = ports.choose("the second", LOOPBACK, wanted, fixed=None)
    assert second > wanted
    assert said == [f"port {wanted} is taken: the second uses {second}"]
    with pytest.raises(SettingsError, match="PORT"):
        ports.choose("the third", LOOPBACK, wanted, fixed="PORT")
