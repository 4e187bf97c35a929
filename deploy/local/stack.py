"""Process supervisor: starts the parts of a plan, restarts those that end, stops them in order. No part outlives it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy.local import guard, running
from deploy.local.logtail import LogTail, last_lines
from deploy.local.plan import Part, Plan, Planner
from deploy.local.restarts import Restarts
from shared.errors import DependencyError, RouterError

TICK_S = 0.05
START_TIMEOUT_S = 120.0
DISTIL_TIMEOUT_S = 900.0
"""Start time-out of the embedder, which may distil or download its model at the first start."""
SHOWN_LINES = 15
STACK = "stack"
"""Name of the supervisor's own lines."""


class Interrupted(RouterError):
    """The user requested a stop."""


class AlreadyRunning(DependencyError):
    """Another stack runs on the same folder."""


class Stack:
    """Supervisor of a plan, used as a context manager: when it exits, all parts have ended.

    `show` gets every log line with the name of its part; `stop_requests` returns how often the user requested a stop.
    `restarts`: by name of the part.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        show: Callable[[str, str], None] = lambda _name, _line: None,
        stop_requests: Callable[[], int] = lambda: 0,
    ) -> None:
        self._planner = planner
        self._folder = planner.folder
        self.plan = Plan()
        self.restarts: dict[str, Restarts] = {}
        self._show = show
        self._stop_requests = stop_requests
        self._tails: dict[str, LogTail] = {}
        self._launched_at: dict[str, float] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._folder)  # before ports are chosen: another stack on this data uses the default ones
        self.plan = self._planner.plan()
        self.restarts = {part.name: Restarts() for part in self.plan.parts}
        running.note(self._folder, self.plan.own)
        # In its own process group, but in this session, so that the parts can join the group. It inherits the lock, so
        # that the folder is free only when the last part has ended.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
            pass_fds=(self._lock.fileno(),),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        try:
            self._stop(quick=kind is not None and not issubclass(kind, Interrupted))
        finally:
            if self._guard is not None:
                if self._guard.stdin is not None:
                    self._guard.stdin.close()
                self._guard.wait()
            if self._lock is not None:
                running.forget(self._folder)
                self._lock.close()

    # -- starting ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every part as soon as the parts it needs are ready; return when all are.

        Raises DependencyError, with the end of its log, when a part ends or does not become ready; Interrupted when the
        user requests a stop.
        """
        names = {part.name for part in self.plan.parts}
        while not all(part.is_ready for part in self.plan.parts):
            self._look()
            ready = {part.name for part in self.plan.parts if part.is_ready}
            for part in self.plan.parts:
                if part.server.process is None and (set(part.after) & names) <= ready:
                    self._launch(part)
                elif (failure := self._failure(part)) is not None:
                    self._show_lines()
                    raise self._failed(part, failure)
            time.sleep(TICK_S)

    def _launch(self, part: Part) -> None:
        if self._guard is None:
            raise RuntimeError("use the stack as a context manager")
        part.server.group = self._guard.pid
        log = part.server.log
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_suffix(".previous.log"))
        self._tails[part.name] = LogTail(log)
        self._launched_at[part.name] = time.monotonic()
        part.server.start()

    def _failure(self, part: Part) -> str | None:
        """Return how a part that was started has failed, or None; probe it if it was not ready yet."""
        process = part.server.process
        if process is None:
            return None
        if process.poll() is not None:
            return _end_of(process.returncode)
        if not part.is_ready:
            part.is_ready = part.ready()
            if part.is_ready:
                self.restarts[part.name].ready(time.monotonic())
        limit_s = DISTIL_TIMEOUT_S if part.name == "embedder" else START_TIMEOUT_S
        if not part.is_ready and time.monotonic() - self._launched_at[part.name] > limit_s:
            return f"is not ready after {limit_s:.0f} s"
        return None

    # -- running -------------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Show new log lines, and start parts that have ended again, each after a pause.

        Raises Interrupted when the user requests a stop, DependencyError when the guard has ended.
        """
        self._look()
        for part in self.plan.parts:
            restarts = self.restarts[part.name]
            if restarts.due is not None:
                if time.monotonic() >= restarts.due:
                    self._restart(part, restarts)
            elif (failure := self._failure(part)) is not None:
                self._restart_later(part, restarts, failure)

    def _look(self) -> None:
        self._show_lines()
        if self._stop_requests():
            raise Interrupted
        if self._guard is not None and self._guard.poll() is not None:
            raise DependencyError("guard", "the process that cleans up after a crash has ended")

    def _restart_later(self, part: Part, restarts: Restarts, failure: str) -> None:
        part.server.kill()
        part.is_ready = False
        pause_s = restarts.ended(time.monotonic())
        self._show_lines()
        self._show(STACK, f"{part.name} {failure}: it starts again in {pause_s:.0f} s")

    def _restart(self, part: Part, restarts: Restarts) -> None:
        self._launched_at[part.name] = time.monotonic()
        try:
            part.server.start()  # by the same command, so at the same address; its log goes on
        except OSError as error:
            self._restart_later(part, restarts, f"cannot be started ({error.strerror})")
        else:
            restarts.started()

    def run(self) -> None:
        """Call `poll` until it raises."""
        while True:
            self.poll()
            time.sleep(TICK_S)

    def run_command(self, command: list[str], environment: dict[str, str]) -> int:
        """Run `command` while the parts run; return its exit code. Raises as `poll` does."""
        process = subprocess.Popen(command, env=environment)
        try:
            while process.poll() is None:
                self.poll()
                time.sleep(TICK_S)
        finally:
            process.kill()
        return process.returncode

    def pids(self) -> dict[str, int]:
        """Return the process id of every running part."""
        processes = {part.name: part.server.process for part in self.plan.parts}
        return {name: process.pid for name, process in processes.items() if process and process.poll() is None}

    def _show_lines(self) -> None:
        for name, tail in self._tails.items():
            for line in tail.lines():
                self._show(name, line)

    def _failed(self, part: Part, what: str) -> DependencyError:
        lines = "\n".join(f"    {line}" for line in last_lines(part.server.log, SHOWN_LINES))
        said = (
            f"its last log lines ({part.server.log}):\n{lines}" if lines else f"it logged nothing ({part.server.log})"
        )
        return DependencyError(part.name, f"{what}; {said}")

    # -- stopping ------------------------------------------------------------------------------------------------------

    def _stop(self, *, quick: bool) -> None:
        """Send SIGTERM stage by stage, each after the one before has ended; SIGKILL after a time-out.

        A second request to stop kills the parts immediately.
        """
        for stage in sorted({part.stop_order for part in self.plan.parts}):
            parts = [part for part in self.plan.parts if part.stop_order == stage and part.server.process is not None]
            for part in parts:
                part.server.signal(signal.SIGTERM)
            deadline = time.monotonic() + max((part.stop_timeout_s for part in parts), default=0.0)
            if quick:
                deadline = min(deadline, time.monotonic() + 5.0)
            while any(_runs(part) for part in parts) and time.monotonic() < deadline and self._stop_requests() < 2:
                self._show_lines()
                time.sleep(TICK_S)
            for part in parts:
                if _runs(part):
                    why = "second request to stop" if self._stop_requests() > 1 else "did not stop in time"
                    self._show(part.name, f"{why}: killed")
                    part.server.kill()
        self._show_lines()


def _runs(part: Part) -> bool:
    return part.server.process is not None and part.server.process.poll() is None


def _end_of(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _locked(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "?"
        lock.close()
        raise AlreadyRunning("stack", f"process {owner} already runs on the data in {folder}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
