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


def test_several_upstreams_are_never_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The services run in another folder: they get the file's whole path, and its keys also where `.env` has them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("HOSTED_KEY=abc\n", encoding="utf-8")
    (tmp_path / "models.yaml").write_text(
        "upstreams: {hosted: {base_url: http://hosted/v1, api_key: ${HOSTED_KEY}}}", encoding="utf-8"
    )
    settings = load_settings({"MODELS_FILE": "models.yaml"})
    plan = Planner(settings, tmp_path, tmp_path, anywhere=True).plan()
    parts = {part.name: part for part in plan.parts}
    for name in ("gateway", "learner"):
        environment = parts[name].server.environment
        assert (environment["MODELS_FILE"], environment["HOSTED_KEY"]) == (str(tmp_path / "models.yaml"), "abc")
    assert not plan.simulated
    assert "the simulated upstream" not in parts
    (tmp_path / "models.yaml").write_text("upstreams: {}", encoding="utf-8")
    with pytest.raises(SettingsError, match="one upstream or more"):
        Planner(settings, tmp_path, tmp_path, anywhere=True).plan()


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
