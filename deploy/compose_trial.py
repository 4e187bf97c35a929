"""Compose project of a trial: its commands, its images, and HTTP calls to its public port.

Standard library only: `make compose-test` and `make chaos-test` run without a virtual environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from deploy.local.servers import free_port

FOLDER = Path(__file__).resolve().parent
START_S = 180.0
BUSY = 503
"""Status of a gateway at its limit, with Retry-After; on a small machine the load alone can cause it."""
Json = dict[str, Any]
Answer = tuple[int, Json, dict[str, str]]
"""Status, body, headers."""


class Broken(Exception):
    """A check of the trial failed."""


@dataclass
class Compose:
    """One compose project."""

    command: Sequence[str]
    port: int
    files: tuple[str, ...] = ("docker-compose.yml",)
    profiles: tuple[str, ...] = ("simulated", "persistence")
    environment: dict[str, str] = field(default_factory=dict)
    monitored: bool = True
    project: str = field(default_factory=lambda: f"llm-router-test-{os.getpid()}")

    def __call__(self, *arguments: str, quiet: bool = False, **environment: str) -> str:
        """Run a compose command; return its output. Raises Broken with the output. `quiet` hides progress messages."""
        options = [part for name in self.files for part in ("-f", name)]
        options += [part for name in self.profiles for part in ("--profile", name)]
        done = subprocess.run(
            [*self.command, "-p", self.project, *options, *arguments],
            cwd=FOLDER,
            env={**os.environ, **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Broken(f"compose {' '.join(arguments)} failed: {(done.stdout + (done.stderr or ''))[-3000:]}")
        return done.stdout

    def call(
        self, method: str, path: str, body: Json | None = None, **headers: str
    ) -> tuple[int, Json, dict[str, str]]:
        """Make an HTTP call to the public port; return status, body and headers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                return answer.status, json.loads(answer.read() or b"{}"), dict(answer.headers.items())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read()), dict(error.headers.items())


def on_trial(environment: dict[str, str], act: Callable[[Compose], bool]) -> int:
    """Run `act` on a new project with the simulated upstream, and remove the project; return the exit code."""
    command = _compose_command()
    if command is None:
        print("\n=== SKIPPED: no Docker engine or no docker compose is available. Nothing was tested. ===\n")
        return 0
    port = free_port()
    # With the host's network, a build reaches the same package indexes as this machine.
    common = {"COMPOSE_BUILD_NETWORK": os.environ.get("COMPOSE_BUILD_NETWORK", "host"), "PORT": str(port)}
    common |= {"OPENROUTER_API_KEY": "", "OPENROUTER_BASE_URL": "http://simulator:8090/v1", "API_KEYS": ""}
    compose = Compose(command, port, environment=common | {"ENABLE_PERSISTENCE": "true"} | environment)
    _choose_images(compose)
    try:
        return 0 if act(compose) else 1
    except Broken as broken:
        print(f"\nBROKEN: {broken}\n", file=sys.stderr)
        print(compose("logs", "--tail", "40", quiet=True)[-12000:], file=sys.stderr)
        return 1
    finally:
        compose("down", "--volumes", "--timeout", "20", quiet=True)


def _compose_command() -> list[str] | None:
    """Return `docker compose` or `docker-compose`, whichever works; None without an engine."""
    if shutil.which("docker") is None or _fails("docker", "info"):
        return None
    candidates = (["docker", "compose"], ["docker-compose"])
    return next((command for command in candidates if not _fails(*command, "version")), None)


def _choose_images(compose: Compose) -> None:
    """Replace images that are neither here nor can be pulled."""
    for name in ("nginx", "redis", "qdrant", "postgres", "prometheus"):
        wanted = _default_image(name)
        if not _fails("docker", "image", "inspect", wanted) or not _fails("docker", "pull", "-q", wanted):
            continue
        repository = wanted.partition(":")[0]
        listed = subprocess.run(
            ["docker", "images", repository, "--format", "{{.Repository}}:{{.Tag}}"],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        if listed:
            print(f"!!! {wanted} is not available; {listed[0]} is used instead")
            compose.environment[f"COMPOSE_{name.upper()}_IMAGE"] = listed[0]
        elif name == "qdrant":
            print(f"!!! {wanted} is not available; the local Qdrant engine is used instead")
            compose.files = (*compose.files, "docker-compose.engine.yml")
        elif name == "prometheus":
            print(f"!!! {wanted} is not available: monitoring is NOT tested")
            compose.monitored = False
        else:
            raise SystemExit(f"{wanted} cannot be pulled, and there is no other {repository} image")


def chat(compose: Compose, name: str) -> Answer:
    """Send one chat request."""
    body = {"messages": [{"role": "user", "content": f"What is {name}? {uuid.uuid4()}"}]}
    return compose.call("POST", "/chat/completions", body, X_Request_ID=name)


def rate(compose: Compose, name: str, score: float) -> Answer:
    """Rate one request."""
    return compose.call("POST", "/feedback", {"request_id": name, "score": score})


def labels(compose: Compose) -> float:
    """Return the number of ratings that have been learned."""
    return float(sum(arm["labels"] for arm in compose.call("GET", "/arms")[1].get("data", [])))


def healthy(compose: Compose) -> bool:
    """Whether `/health` is `ok`."""
    return compose.call("GET", "/health")[1].get("status") == "ok"


def until(timeout_s: float, what: str, holds: Callable[[], bool]) -> None:
    """Wait until `holds` returns true; errors meanwhile are ignored. Raises Broken after the time-out."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (OSError, HTTPException, KeyError, ValueError):
            pass
        time.sleep(0.5)
    raise Broken(f"not within {timeout_s:.0f} s: {what}")


def _default_image(name: str) -> str:
    """Return the image of `docker-compose.yml`, or its replacement from the environment."""
    mark = f"${{COMPOSE_{name.upper()}_IMAGE:-"
    text = (FOLDER / "docker-compose.yml").read_text(encoding="utf-8")
    return os.environ.get(f"COMPOSE_{name.upper()}_IMAGE") or text.partition(mark)[2].partition("}")[0]


def _fails(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def _json(raw: bytes) -> Json:
    try:
        content = json.loads(raw)
    except ValueError:
        return {"text": raw[:500].decode(errors="replace")}
    return content if isinstance(content, dict) else {"content": content}
