"""`make run` and `make demo` as a user meets them: a process, its output, signals, its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.plan import ROOT
from shared.settings import Settings
from tests.e2e.conftest import MODELS

CLEAN = {name: value for name, value in os.environ.items() if name not in {*Settings.model_fields, "CONFIG_FILE"}}
QUESTION = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}


class Run:
    """`python -m deploy.local` in a folder of its own, with its output."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._output = folder.parent / "output"
        self._written = self._output.stat().st_size if self._output.exists() else 0
        command = [sys.executable, "-m", "deploy.local", "--folder", str(folder), "--models", str(MODELS)]
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--anywhere", "--failures", "0", *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=CLEAN | {"HOST": "127.0.0.1"},
            )

    @property
    def output(self) -> str:
        """What this run has printed so far."""
        return self._output.read_bytes()[self._written :].decode()

    def wait_until_ready(self) -> None:
        self.wait_for("Logs follow")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed `text`."""
        deadline = time.monotonic() + 240
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    @property
    def url(self) -> str:
        found = re.search(r"gateway +(http://\S+)", self.output)
        assert found is not None
        return found[1]

    def parts(self) -> dict[str, int]:
        """Return the living processes that this run has started, by what they are."""
        found = {}
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and words != [""]:
                    found[" ".join(words[:3])] = pid
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def running(folder: Path) -> Iterator[Run]:
    run = Run(folder)
    try:
        run.wait_until_ready()
        yield run
    finally:
        run.end()


def alive(pids: dict[str, int]) -> list[str]:
    return [name for name, pid in pids.items() if Path(f"/proc/{pid}/cmdline").exists() and not zombie(pid)]


def zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True


def fetch(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read())


def test_the_printed_commands_work_and_ctrl_c_leaves_nothing(running: Run, folder: Path) -> None:
    """Paste what is printed: chat, feedback, record. Ctrl-C: exit 0, no process left. Start again: all is still known.

    Then a part dies: the supervisor says which, and starts it again.
    """
    commands = [line.strip() for line in running.output.splitlines() if re.match(r"  (ID=|curl )", line)]
    assert "SIMULATED" in running.output
    assert "Models: " in running.output
    for polling in ("/ready", 'event":"request', "the database system is starting up"):
        assert polling not in running.output, "the start shows its own polling"
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    script = "\n".join([*commands, "echo $ID"])
    pasted = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    chat, feedback, record, arms, health, request_id = pasted
    assert json.loads(chat)["choices"]
    assert json.loads(feedback)["status"] == "accepted"
    assert json.loads(record)["feedback"]["score"] == 0.9
    assert json.loads(arms)["data"]
    assert json.loads(health)["parts"]

    parts = running.parts()
    assert len(parts) == 7, parts  # six and the guard
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0, running.output
    assert alive(parts) == []

    again = Run(folder)
    try:
        again.wait_until_ready()
        assert fetch(f"{again.url}/requests/{request_id}")["feedback"]["score"] == 0.9
        parts = again.parts()
        name, learner = next((name, pid) for name, pid in parts.items() if "services.learner" in name)
        os.kill(learner, signal.SIGKILL)
        again.wait_for("learner was killed by SIGKILL: it starts again in 1 s")
        while again.parts().get(name, learner) == learner:
            time.sleep(0.05)
        rate = {"request_id": request_id, "score": 0.1}
        assert fetch(f"{again.url}/feedback", rate)["status"] == "accepted"
        parts = again.parts()
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(30) == 0, again.output
        assert len(parts) == 7, parts
        assert alive(parts) == []
    finally:
        again.end()


def test_gateways_share_a_port_and_one_that_dies_is_not_missed(folder: Path) -> None:
    """Both serve the port, each counts its own requests; killed, one is away for a second and the other answers all."""
    run = Run(folder, "--gateways", "2")
    try:
        run.wait_until_ready()
        shared, *own = re.findall(r"gateway(?:s|-\d) +(http://\S+)", run.output)
        assert len({shared, *own}) == 3
        for number in range(40):
            fetch(f"{shared}/v1/chat/completions", QUESTION, **{"X-Request-ID": f"shared-{number}"})
        counts = [served(url) for url in own]
        assert sum(counts) == 40
        assert min(counts) > 0, "all connections went to one gateway, which happens once in 2^39 runs"
        assert len(fetch(f"{own[0]}/health")["gateways"]) == 2

        pid = next(pid for pid in run.parts().values() if own_port(own[0]) in environment_of(pid))
        os.kill(pid, signal.SIGKILL)
        run.wait_for("was killed by SIGKILL: it starts again in 1 s")
        for _ in range(40):
            fetch(f"{shared}/v1/chat/completions", QUESTION)
        deadline = time.monotonic() + 60
        while not is_ready(own[0]):
            assert time.monotonic() < deadline, run.output
            time.sleep(0.05)
        for number in range(40):
            fetch(f"{shared}/feedback", {"request_id": f"shared-{number}", "score": 0.5})
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(30) == 0, run.output
    finally:
        run.end()


def own_port(url: str) -> bytes:
    return f"PORT={url.rpartition(':')[2]}".encode()


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def served(url: str) -> int:
    """Return how many chat requests this gateway has counted."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:  # noqa: S310 - our own server
        return sum(
            map(int, re.findall(rb'requests_total{route="/v1/chat/completions",status="200"} (\d+)', answer.read()))
        )


def is_ready(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(fetch(f"{url}/ready")["status"] == "ready")
    return False


def test_an_open_answer_is_finished_before_the_end(folder: Path) -> None:
    """SIGTERM in the middle of a stream: the stream still ends in `[DONE]`, then everything stops with exit code 0."""
    run = Run(folder, "--speed", "0.4")
    try:
        run.wait_until_ready()
        body = json.dumps(QUESTION | {"stream": True}).encode()
        request = urllib.request.Request(f"{run.url}/v1/chat/completions", body)  # noqa: S310
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            first = answer.readline()
            run.process.send_signal(signal.SIGTERM)
            text = first + answer.read()
        assert text.rstrip().endswith(b"data: [DONE]")
        assert run.process.wait(30) == 0, run.output
    finally:
        run.end()


def test_a_taken_port_is_refused_before_anything_starts(folder: Path) -> None:
    """PORT set by the user and in use: exit code 2 and one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [sys.executable, "-m", "deploy.local", "--folder", str(folder)],
            cwd=ROOT,
            env=CLEAN | {"HOST": "127.0.0.1", "PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert answer.returncode == 2
    assert f"PORT={port}" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_the_demo_accounts_for_every_rating() -> None:
    """Sixty real prompts through a stack of its own: all answered, all rated, all learned; it ends with a verdict."""
    answer = subprocess.run(
        [sys.executable, "-m", "deploy.local.demo", "--requests", "60", "--rate", "30", "--feedback", "1"],
        cwd=ROOT,
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "60 of 60 real prompts answered, 60 ratings accepted" in answer.stdout
    assert "feedback sent 60 = applied 60" in answer.stdout
    assert "every rating is accounted for" in answer.stdout.replace("\n", " ")
    assert "\nVerdict: " in answer.stdout
