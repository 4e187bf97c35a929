"""Command `make wheel-test`: installs the wheel as a user does, and starts the whole system from it.

With pip in a bare virtual environment, with uvx, and with pipx. Dependencies come from the package index. Everything,
the user's data folder included, is in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

START_S = 900.0
"""Includes the embedding model, which is made at the first start."""
STOP_S = 60.0
QUESTION = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}


class Broken(Exception):
    """A check failed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the wheel in each way; return the exit code, 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m deploy.wheel.trial", description=__doc__)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args(arguments).wheel.resolve()
    with tempfile.TemporaryDirectory(prefix="llm-router-wheel-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            for name, command in ways(wheel, folder / "venv").items():
                began = time.monotonic()
                if name == "pip":
                    install(wheel, folder / "venv")
                answer_one_request(command, folder, os.environ)
                print(f"ok  {name} ({time.monotonic() - began:.0f} s)", flush=True)
        except Broken as error:
            print(f"wheel: {error}", file=sys.stderr)
            return 1
    return 0


def ways(wheel: Path, venv: Path) -> dict[str, list[str]]:
    """Return the command `llm-router` for each way to install the wheel."""
    uvx = [str(Path(sys.executable).with_name("uv")), "tool", "run", "--quiet"]
    return {
        "pip": [str(venv / "bin" / "llm-router")],
        "uvx": [*uvx, "--from", str(wheel), "llm-router"],
        "pipx": [*uvx, "pipx", "run", "--spec", str(wheel), "llm-router"],
    }


def install(wheel: Path, venv: Path) -> None:
    """Install the wheel with pip in a new virtual environment. Raises Broken."""
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin" / "pip"), "-q", "install", str(wheel)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Broken(f"{' '.join(command)} failed: {done.stderr[-2000:]}")


def answer_one_request(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *options: str
) -> dict[str, str]:
    """Run `command run` in an empty working folder, send one request, stop it with Ctrl-C; return the answer's headers.

    The user's data folder is `folder/data`. Raises Broken.
    """
    work = folder / "work"
    work.mkdir(exist_ok=True)
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "run", "--anywhere", "--failures", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=work,
            env={**environment, "XDG_DATA_HOME": str(folder / "data")},
            start_new_session=True,
        )
    try:
        headers = _ask(_address(process, log))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        if process.wait(STOP_S) != 0:
            raise Broken(f"Ctrl-C: exit code {process.returncode}\n{_end(log)}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Broken(f"{error}\n{_end(log)}") from error
    finally:
        process.kill()
        process.wait()
    left = sorted(path.name for path in work.iterdir())
    if left:
        raise Broken(f"files in the working folder: {', '.join(left)}")
    return headers


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the gateway's address in the output. Raises Broken."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"gateway +(http://\S+)", text)
        if found is not None and "Logs follow" in text:
            return found[1]
        time.sleep(0.1)
    raise Broken(f"did not start\n{_end(log)}")


def _ask(url: str) -> dict[str, str]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/v1/chat/completions", json.dumps(QUESTION).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
        return {name.lower(): value for name, value in answer.headers.items()}


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]


if __name__ == "__main__":
    sys.exit(main())
