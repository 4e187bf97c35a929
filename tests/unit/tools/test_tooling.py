"""Tools: size limits, locked versions, and the choice of an interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import interpreter, lock
from tools import sizes


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("services/a.py", "x = 1\n" * 301, "services/a.py has 301 lines"),
        ("tests/a.py", "x = 1\n" * 301, "tests/a.py has 301 lines"),
        ("shared/a.py", function(61), "shared/a.py:1 f has 61 lines"),
        ("deploy/a.py", function(31), "90th percentile of function sizes is 31"),
        ("benchmarks/a.py", "x = 1\n" * 239, "the median module has 121 lines"),
    ],
)
def test_each_size_limit_is_kept(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line over any limit fails, and says where."""
    write(tmp_path, name, text)
    write(tmp_path, "services/small.py", function(3))
    assert sizes.main(tmp_path) == 1
    assert message in capsys.readouterr().err


def test_small_code_passes(tmp_path: Path) -> None:
    """Exactly at the limits is fine; tests may have long functions; files that only name a package do not count."""
    write(tmp_path, "services/__init__.py", '"""A package."""\n')
    write(tmp_path, "services/a.py", function(30) * 4)
    write(tmp_path, "tests/a.py", function(200))
    assert sizes.main(tmp_path) == 0


@pytest.mark.parametrize(
    "line",
    ["--index-url https://example.test/simple", "a @ file:///somewhere/a.whl", "a==1 ; /opt/x", "# from http://x"],
)
def test_a_lock_that_names_a_place_is_noticed(line: str) -> None:
    """No address, option or path passes; a plain pin with a marker and hashes does."""
    good = "a==1 ; sys_platform == 'linux' \\\n    --hash=sha256:" + "0" * 64 + "\n"
    assert lock.leaks(good) == []
    assert lock.leaks(good + line + "\n") == [line]


def test_each_lock_builds_on_the_one_before(project: Path) -> None:
    """The larger lock is constrained by the smaller one, and every lock of the folder is written."""
    assert {entry.name for entry in lock.LOCKS} == {path.name for path in (project / lock.FOLDER).glob("*.txt")}
    commands = {entry.name: " ".join(lock.command("uv", entry, upgrade=False)) for entry in lock.LOCKS}
    assert "--constraint=deploy/requirements/runtime.txt" in commands["local.txt"]
    assert "--constraint=deploy/requirements/local.txt" in commands["test.txt"]
    assert all("--generate-hashes" in command and "--universal" in command for command in commands.values())


def python(folder: Path, name: str, verdict: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{verdict}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("verdicts", "chosen"),
    [
        (("echo usable", "echo unusable", "echo optimised"), 2),
        (("echo optimised", "echo optimised"), 0),
        (("echo unusable", "exit 1", "echo usable", "echo usable"), 2),
        (("echo unusable", "exit 1"), None),
    ],
)
def test_the_environment_is_built_with_the_best_python(
    verdicts: tuple[str, ...], chosen: int | None, tmp_path: Path
) -> None:
    """An optimised build goes before any other, an old or broken one is passed over; with none, make says so."""
    missing = str(tmp_path / "missing")
    names = tuple(python(tmp_path, f"python{i}", verdict) for i, verdict in enumerate(verdicts))
    assert interpreter.choose((missing, *names)) == (missing if chosen is None else names[chosen])


def test_the_python_that_is_chosen_here_can_make_an_environment(tmp_path: Path) -> None:
    """The program finds a Python on this machine with which `make run` gets on."""
    chosen = subprocess.run([sys.executable, interpreter.__file__], capture_output=True, text=True, check=True)
    subprocess.run([chosen.stdout.strip(), "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    check = "import sys; print((3, 11) <= sys.version_info[:2] <= (3, 13))"
    made = subprocess.run([tmp_path / "venv/bin/python", "-c", check], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "True"
