"""The supervisor behind `make run`, with small stand-ins for the parts: order, Ctrl-C, and no orphans."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.environment import explicit_settings
from deploy.local.plan import Planner
from deploy.local.ports import PortChooser
from deploy.local.servers import free_port
from deploy.local.stack import Interrupted, Stack
from shared.errors import DependencyError, SettingsError
from shared.settings import load_settings
from tests.support.scripted_stack import SLEEPER, lives, scripted, wait_until

SPAWNER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
LISTED = (
    "import signal, time, pathlib\ndef stop(*_):\n  open({path!r}, 'a').write({name!r} + ' ')\n  raise SystemExit\n\
signal.signal(signal.SIGTERM, stop)\nprint('up', flush=True)\ntime.sleep(60)"
)


def test_parts_start_after_those_they_need(tmp_path: Path) -> None:
    """A part is not even started before the parts it needs are ready, and leaving stops everything."""
    planner = scripted(tmp_path, first=SLEEPER.format(name="first"), second=SLEEPER.format(name="second"))
    planner.after = {"second": ("first",)}
    lines: list[tuple[str, str]] = []
    with Stack(planner, show=lambda name, line: lines.append((name, line))) as stack:
        stack.start()
        pids = stack.pids()
        assert pids.keys() == {"first", "second"}
        stack.poll()
    assert lines == [("first", "first is up"), ("second", "second is up")]
    assert not any(lives(pid) for pid in pids.values())


def test_parts_stop_in_order(tmp_path: Path) -> None:
    """The next part is asked to stop only when the one before has ended."""
    names = ("gateway", "learner", "redis")
    order = tmp_path / "order"
    planner = scripted(tmp_path, **{name: LISTED.format(path=str(order), name=name) for name in names})
    with Stack(planner) as stack:
        stack.start()
    assert order.read_text().split() == list(names)


def test_a_part_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """The error says which part, how it ended and what it logged last; the others are stopped."""
    planner = scripted(
        tmp_path,
        good=SLEEPER.format(name="good"),
        bad="import sys, time; print('no disk left', flush=True); time.sleep(0.3); sys.exit(3)",
    )
    planner.ready = lambda name: name == "good"
    pids: dict[str, int] = {}

    def start() -> None:
        with Stack(planner, stop_requests=lambda: pids.update(stack.pids()) or 0) as stack:
            stack.start()

    with pytest.raises(DependencyError, match=r"bad: ended with exit code 3;(.|\n)*no disk left"):
        start()
    assert pids.keys() == {"good", "bad"}
    assert not any(lives(pid) for pid in pids.values())


def test_a_stop_request_ends_the_wait_for_a_part_that_never_gets_ready(tmp_path: Path) -> None:
    """Ctrl-C works at any time, during the start as well."""
    planner = scripted(tmp_path, slow=SLEEPER.format(name="slow"))
    planner.ready = lambda _name: False
    began = time.monotonic()
    with pytest.raises(Interrupted), Stack(planner, stop_requests=lambda: time.monotonic() > began + 0.3) as stack:
        stack.start()
    assert time.monotonic() - began < 5


def test_two_stacks_do_not_share_a_folder(tmp_path: Path) -> None:
    """A second start on the same data is refused, and works once the first has ended."""
    planner = scripted(tmp_path, part=SLEEPER.format(name="part"))
    with Stack(planner), pytest.raises(DependencyError, match=f"process {os.getpid()} already runs"), Stack(planner):
        pass
    with Stack(planner) as stack:
        stack.start()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor of its own process, with one part that itself starts a process."""
    program = (
        "import sys; from pathlib import Path; from tests.integration.test_local_stack import *\n"
        f"planner = scripted(Path({str(tmp_path)!r}), part={SPAWNER!r})\n"
        "planner.ready = lambda name: True\n"
        "with Stack(planner) as stack:\n  stack.start(); print(stack.pids()['part'], flush=True); stack.run()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_nothing_outlives_a_killed_supervisor(supervisor: subprocess.Popen[str]) -> None:
    """`kill -9` of the supervisor ends every part, the processes that a part has started, and the guard."""
    assert supervisor.stdout is not None
    part = int(supervisor.stdout.readline())
    group = os.getpgid(part)
    wait_until(lambda: len(members(group)) == 3, "guard, part and the part's own child")
    before = members(group)
    supervisor.kill()
    wait_until(lambda: not any(lives(pid) for pid in before), "orphans are left")


def members(group: int) -> list[int]:
    """Return the living processes of a group."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    found = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group and lives(pid):
                found.append(pid)
    return found


def test_a_taken_default_port_is_passed_over_and_said() -> None:
    """Without a wish of the user the next free port will do."""
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = PortChooser(said.append).choose("Redis", "127.0.0.1", port, fixed=None)
    assert chosen > port
    assert said == [f"port {port} is taken: Redis uses {chosen}"]


def test_a_taken_port_that_the_user_set_is_an_error() -> None:
    """A port that is named is used, or refused with a clear message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"PORT={port}"):
            PortChooser(print).choose("gateway", "127.0.0.1", port, fixed="PORT")


def test_what_the_user_runs_is_used_and_not_started(tmp_path: Path) -> None:
    """Each URL that is set replaces the part, and every service gets it."""
    given = {
        "REDIS_URL": "redis://redis.example:1/0",
        "QDRANT_URL": "http://qdrant.example:2",
        "EMBEDDER_URL": "http://embedder.example:3",
        "OPENROUTER_BASE_URL": "http://upstream.example:4/v1",
        "PORT": str(free_port()),
    }
    plan = Planner(load_settings(given, None), tmp_path, tmp_path).plan()
    assert {part.name for part in plan.parts} == {"learner", "gateway"}
    assert not plan.simulated
    for part in plan.parts:
        assert given.items() - {("PORT", given["PORT"])} <= part.server.environment.items()


def test_a_key_means_the_real_upstream(tmp_path: Path) -> None:
    """With a key nothing is simulated; without one the plan says that it is."""
    assert Planner(load_settings({}, None), tmp_path, tmp_path, anywhere=True).plan().simulated
    with_key = load_settings({"OPENROUTER_API_KEY": "sk-or-1"}, None)
    plan = Planner(with_key, tmp_path, tmp_path, anywhere=True).plan()
    assert not plan.simulated
    assert "simulator" not in {part.name for part in plan.parts}


def test_settings_reach_the_parts_unchanged(tmp_path: Path) -> None:
    """What the user set reads back the same in a part, wherever it came from; paths no longer depend on the folder."""
    file = tmp_path / "config.yaml"
    file.write_text("LLM_MODELS: a/x,b/y\nSAFE_START: true\nEXPLORATION_RATE: 0.25\nAPI_KEYS: k1,k2\n")
    settings = load_settings({"CONFIG_FILE": str(file)}, None)
    gateway = next(p for p in Planner(settings, tmp_path, tmp_path, anywhere=True).plan().parts if p.name == "gateway")
    seen = load_settings(gateway.server.environment, None)
    for name in explicit_settings(settings):
        assert getattr(seen, name) == getattr(settings, name)
    assert seen.SPOOL_DIR.is_absolute()
    assert "CONFIG_FILE" not in gateway.server.environment


@pytest.mark.parametrize(("given", "host"), [
    ({}, "127.0.0.1"), ({"ADMIN_API_KEYS": "a"}, "127.0.0.1"), ({"HOST": "0.0.0.0"}, "0.0.0.0"),
    ({"API_KEYS": "k"}, "0.0.0.0"), ({"API_KEYS": "k", "HOST": "::1"}, "::1"),
])  # fmt: skip
def test_without_keys_only_this_machine_is_served(given: dict[str, str], host: str, tmp_path: Path) -> None:
    """Unless HOST says where to listen; the banner warns of what can reach it."""
    plan = Planner(load_settings(given, None), tmp_path, tmp_path, anywhere=True).plan()
    (gateway,) = [part for part in plan.parts if part.name == "gateway"]
    assert gateway.server.environment["HOST"] == host
    assert (plan.warning is None) is ("API_KEYS" in given)
    if plan.warning is not None:
        assert ("on this machine" in plan.warning) is (host == "127.0.0.1")
        assert f"{host}:{gateway.server.environment['PORT']}" in plan.warning
    assert plan.gateway_url.startswith("http://[::1]:" if host == "::1" else "http://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_counted(number: signal.Signals) -> None:
    """One request to stop for each signal; the copy that make sends to its child is not a second one."""
    program = (
        "import os, signal, time; from deploy.local.interrupts import SAME_REQUEST_S, StopRequests\n"
        "asked, seen = StopRequests(), []\n"
        "for pause_s in (0.01, SAME_REQUEST_S + 0.05, 0):\n"
        f"  os.kill(os.getpid(), {int(number)}); seen.append(asked()); time.sleep(pause_s)\n"
        "print(seen)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[1, 1, 2]"
