"""Parts that end are started again by the supervisor behind `make run`; small stand-ins take their place."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.stack import Interrupted, Stack
from tests.support.scripted_stack import SLEEPER, lives, scripted, wait_until


def poll_until(stack: Stack, true: Callable[[], bool]) -> None:
    def polled() -> bool:
        stack.poll()
        return true()

    wait_until(polled, "the part was not started again")


def test_a_part_that_ends_starts_again_and_the_others_go_on(tmp_path: Path) -> None:
    """Killed twice, it runs again each time, by the same command, after a pause that has doubled, and that is said."""
    planner = scripted(tmp_path, good=SLEEPER.format(name="good"), bad=SLEEPER.format(name="bad"))
    said: list[str] = []
    with Stack(planner, show=lambda name, line: said.append(line) if name == "stack" else None) as stack:
        stack.start()
        good = stack.pids()["good"]
        for pause_s in (1.0, 2.0):
            killed, began = stack.pids()["bad"], time.monotonic()
            os.kill(killed, signal.SIGKILL)
            poll_until(stack, lambda: stack.pids().get("bad", killed) != killed)  # noqa: B023 - called in this turn only
            assert time.monotonic() - began >= pause_s
        assert stack.pids()["good"] == good
        assert stack.restarts["bad"].count == 2
        assert stack.restarts["good"].count == 0
        last = stack.pids()
    assert said == [f"bad was killed by SIGKILL: it starts again in {pause_s} s" for pause_s in (1, 2)]
    assert not any(lives(pid) for pid in last.values())


def test_a_part_that_is_never_ready_again_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted part that hangs at its start is killed and started once more."""
    planner = scripted(tmp_path, part=SLEEPER.format(name="part"))
    said: list[str] = []
    with Stack(planner, show=lambda name, line: said.append(line) if name == "stack" else None) as stack:
        planner.ready = lambda _name: stack.restarts["part"].count != 1
        stack.start()
        monkeypatch.setattr("deploy.local.stack.START_TIMEOUT_S", 0.2)
        os.kill(stack.pids()["part"], signal.SIGKILL)
        poll_until(stack, lambda: stack.restarts["part"].count == 2)
    assert said[1] == "part is not ready after 0 s: it starts again in 2 s"


def test_ctrl_c_works_while_a_part_waits_for_its_restart(tmp_path: Path) -> None:
    """The stack stops, and does not start the part first."""
    planner = scripted(tmp_path, part=SLEEPER.format(name="part"))
    said: list[str] = []
    with Stack(planner, show=lambda _, line: said.append(line), stop_requests=lambda: len(said) > 1) as stack:
        stack.start()
        os.kill(stack.pids()["part"], signal.SIGKILL)
        with pytest.raises(Interrupted):
            stack.run()
    assert stack.pids() == {}
    assert stack.restarts["part"].count == 0
