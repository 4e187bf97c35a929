"""The data of each upstream stands in a folder of its own, and what older versions have left is taken over or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.data_folder import open_data_folder, upstream_name
from deploy.local.plan import Plan, Planner
from shared.errors import SettingsError
from shared.settings import load_settings

KEY = {"OPENROUTER_API_KEY": "sk-or-1"}


def planned(folder: Path, said: list[str], **given: str) -> Plan:
    return Planner(load_settings(given, None), folder, folder / "models", say=said.append, anywhere=True).plan()


def used_folders(plan: Plan) -> set[Path]:
    """Return every folder inside the data folder that a part gets."""
    words = [word for part in plan.parts for word in (*part.server.command, *part.server.environment.values())]
    return {Path(word) for word in words if str(plan.data) in word}


def test_simulated_and_real_data_never_share_a_folder(tmp_path: Path) -> None:
    """Neither Redis, Qdrant, PostgreSQL nor spool; each start says which data it uses, and what else there is."""
    said: list[str] = []
    simulated = planned(tmp_path, said, ENABLE_PERSISTENCE="true")
    assert said == []
    real = planned(tmp_path, said, ENABLE_PERSISTENCE="true", **KEY)
    other = planned(tmp_path, said, OPENROUTER_BASE_URL="http://localhost:11434/v1")
    assert [plan.data.name for plan in (simulated, real, other)] == ["simulated", "openrouter.ai", "localhost_11434"]
    assert {path.name for path in used_folders(simulated)} == {"redis", "qdrant", "postgres", "spool"}
    assert used_folders(simulated).isdisjoint(used_folders(real) | used_folders(other))
    assert said == [
        "using the data of openrouter.ai; that of simulated is kept separately",
        "using the data of localhost_11434; that of openrouter.ai, simulated is kept separately",
    ]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://openrouter.ai/api/v1", "openrouter.ai"),
        ("https://OpenRouter.ai", "openrouter.ai"),
        ("http://127.0.0.1:8090/v1", "127.0.0.1_8090"),
        ("http://user:secret@host/v1?key=secret", "host"),
        ("http://[::1]:8090", "__1_8090"),
        ("http://../x", ".."),
    ],
)
def test_a_folder_is_named_by_host_and_port(address: str, name: str) -> None:
    """Without credentials, and without anything that leaves the folder."""
    expected = "_" if set(name) <= {"."} else name
    assert upstream_name(address) == expected


def older(folder: Path, *, simulated: bool) -> None:
    """Make what an earlier version has left."""
    for name in ("redis", "qdrant", "logs"):
        (folder / name).mkdir(parents=True)
    (folder / "redis" / "data").write_text("learned")
    if simulated:
        (folder / "logs" / "simulator.log").touch()


@pytest.mark.parametrize(("simulated", "upstream"), [(True, "simulated"), (False, "openrouter.ai")])
def test_older_data_is_taken_over_for_the_upstream_that_made_it(tmp_path: Path, simulated: bool, upstream: str) -> None:
    """Moved, once, and said with the reason."""
    older(tmp_path, simulated=simulated)
    said: list[str] = []
    data = open_data_folder(tmp_path, upstream, said.append)
    assert (data / "redis" / "data").read_text() == "learned"
    assert not (tmp_path / "redis").exists()
    assert len(said) == 1
    assert f"taken over for {upstream}" in said[0]
    assert open_data_folder(tmp_path, upstream, said.append) == data
    assert len(said) == 1


@pytest.mark.parametrize(("simulated", "upstream"), [(False, "simulated"), (True, "openrouter.ai")])
def test_older_data_of_another_upstream_is_left_and_named(tmp_path: Path, simulated: bool, upstream: str) -> None:
    """What a simulator has run on is never taken for real ratings, nor real ratings for simulated ones."""
    older(tmp_path, simulated=simulated)
    said: list[str] = []
    data = open_data_folder(tmp_path, upstream, said.append)
    assert not (data / "redis").exists()
    assert (tmp_path / "redis" / "data").read_text() == "learned"
    assert "not used by this start" in said[0]


def test_a_folder_that_was_moved_by_hand_is_refused(tmp_path: Path) -> None:
    """The mark inside says whose data it is."""
    open_data_folder(tmp_path, "simulated", print).rename(tmp_path / "data" / "openrouter.ai")
    with pytest.raises(SettingsError, match=r"openrouter\.ai holds the data of simulated, not of openrouter\.ai"):
        open_data_folder(tmp_path, "openrouter.ai", print)


def test_simulated_ratings_in_the_users_own_stores_are_said(tmp_path: Path) -> None:
    """A folder cannot keep them apart there."""
    said: list[str] = []
    planned(tmp_path, said, REDIS_URL="redis://somewhere:1/0")
    assert "REDIS_URL" in said[0]
    assert "SIMULATED" in said[0]
    said.clear()
    planned(tmp_path / "real", said, REDIS_URL="redis://somewhere:1/0", **KEY)
    assert said == []
