"""Command `llm-router`: from its arguments to the process that it becomes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from deploy.command_line import COMMANDS, main
from deploy.local.beside import command_environment, default_folder, module_command
from services.gateway.process.version import VERSION
from shared.settings import Settings


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _path, command, environment: calls.append((command, environment)))
    return calls


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["run", "--anywhere"], ["deploy.local", "--anywhere"]),
        (["demo", "--help"], ["deploy.local.demo", "--help"]),
        (["check-config"], ["services.gateway", "--check-config"]),
        (["export", "--out", "x"], ["deploy.local.history", "services.learner", "export", "--out", "x"]),
        (["import", "a.jsonl", "--weight", "1"], ["deploy.local.import_scores", "a.jsonl", "--weight", "1"]),
        (["evaluate", "--log", "x"], ["benchmarks.evaluate", "--log", "x"]),
    ],
)
def test_becomes_the_module_of_the_command(
    arguments: list[str], module: list[str], executed: list[tuple[list[str], dict[str, str]]], project: Path
) -> None:
    """The project is found by PYTHONPATH alone: a folder `services` in the user's working folder changes nothing."""
    main(arguments)
    ((command, environment),) = executed
    assert command == [sys.executable, "-P", "-m", *module]
    assert environment["PYTHONPATH"] == str(project)


def test_help_names_each_command_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--version"):
        with pytest.raises(SystemExit) as end:
            main([option])
        assert end.value.code == 0
    output = capsys.readouterr().out
    assert f"llm-router {VERSION}" in output
    assert all(f"  {name} " in output for name in COMMANDS)


def test_an_unknown_command_is_refused(
    executed: list[tuple[list[str], dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["start"])
    assert end.value.code == 2
    assert "invalid choice: 'start'" in capsys.readouterr().err
    assert executed == []


def test_data_is_in_the_checkout_or_in_the_users_folder(tmp_path: Path, project: Path) -> None:
    assert default_folder() == project / ".local"
    assert default_folder(tmp_path) == platformdirs.user_data_path("llm-router", appauthor=False)


def test_a_command_has_the_users_working_folder_and_the_projects_modules(tmp_path: Path) -> None:
    """From another folder with a package `services` of its own; relative paths are the user's."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    done = subprocess.run(
        module_command("services.learner", "export", "--help"),
        cwd=tmp_path, env=command_environment(Settings(), {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "export: the file to write" in done.stdout
