"""The wheel in an environment of its own, without the checkout: the whole system starts, answers and stops."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from deploy.wheel.trial import answer_one_request
from tests.e2e.conftest import MODELS
from tests.e2e.test_make_run import CLEAN
from tests.support.wheel import built_wheel


def installed(wheel: Path, venv: Path) -> str:
    """Install the wheel, with the dependencies of the tests in place of the package index; return `llm-router`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    uv = Path(sys.executable).with_name("uv")
    python = venv / "bin" / "python"
    install = [str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)]
    subprocess.run(install, check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return str(venv / "bin" / "llm-router")


def test_the_installed_command_runs_the_whole_system(tmp_path: Path, project: Path) -> None:
    """From an empty folder: data goes into the user's data folder, and nothing is left in the working folder."""
    command = installed(built_wheel(project, tmp_path / "dist"), tmp_path / "venv")
    headers = answer_one_request([command], tmp_path, CLEAN, "--models", str(MODELS))
    assert headers["x-router-decision"]
    data = tmp_path / "data" / "llm-router"
    assert (data / "data" / "simulated" / "redis").is_dir()
    assert (data / "logs" / "gateway.log").is_file()

    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert version.stdout == "llm-router 0.1.0\n"
    shown = subprocess.run(
        [command, "export"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=CLEAN | {"XDG_DATA_HOME": str(tmp_path / "data")},
    )  # fmt: skip
    assert (shown.returncode, f"no history in {data}" in shown.stderr) == (2, True), shown.stderr
