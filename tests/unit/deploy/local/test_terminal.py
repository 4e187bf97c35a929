"""What `make run` shows: every line of every part, whole, and commands that can be pasted."""

import subprocess
from pathlib import Path

import pytest

from deploy.local.logtail import LogTail, last_lines
from deploy.local.plan import Planner
from deploy.local.terminal import commands, show_banner, show_line
from shared.settings import load_settings


def test_lines_appear_once_and_whole(tmp_path: Path) -> None:
    """A line is shown when it is complete, however it was cut into writes."""
    log = tmp_path / "log"
    tail = LogTail(log)
    assert list(tail.lines()) == []
    written = "first\nsecond ärgerlich\n\nlast, without its end"
    seen: list[str] = []
    for byte in written.encode():
        with log.open("ab") as file:
            file.write(bytes([byte]))
        seen += tail.lines()
    assert seen == ["first", "second ärgerlich"]
    assert last_lines(log, 2) == ["second ärgerlich", "last, without its end"]


def test_an_old_log_is_not_shown_again(tmp_path: Path) -> None:
    """What was there before the start stays in the file."""
    log = tmp_path / "log"
    log.write_text("of yesterday\n")
    tail = LogTail(log)
    with log.open("a") as file:
        file.write("of today\n")
    assert list(tail.lines()) == ["of today"]


def test_a_progress_bar_is_passing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps of a bar keep their carriage return, and where lines cannot be overwritten only the last one is printed."""
    log = tmp_path / "log"
    log.write_bytes(b"")
    tail = LogTail(log)
    log.write_bytes(b"\r 1 %\r50 %\r100 %\nready\n")
    lines = list(tail.lines())
    assert lines == [" 1 %\r", "50 %\r", "100 %", "ready"]
    for line in lines:
        show_line("embedder", line)
    assert capsys.readouterr().out.splitlines() == ["embedder  | 100 %", "embedder  | ready"]


@pytest.mark.parametrize("given", [{}, {"API_KEYS": "k"}])
def test_the_banner_warns_where_no_key_is_required(
    given: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the address at which it can be used without a key."""
    settings = load_settings({**given, "HOST": "0.0.0.0"}, None)
    plan = Planner(settings, tmp_path, tmp_path, anywhere=True).plan()
    show_banner(plan, settings, seconds=1.0, folder=str(tmp_path))
    shown = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert ("API_KEYS is empty: anybody who can reach 0.0.0.0:" in shown) is (given == {})


@pytest.mark.parametrize("served", [True, False])
def test_the_banner_names_the_dashboard_where_it_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, served: bool
) -> None:
    """With the address that a browser can open."""
    settings = load_settings({"DASHBOARD": str(served).lower(), "HOST": "127.0.0.1"}, None)
    plan = Planner(settings, tmp_path, tmp_path, anywhere=True).plan()
    show_banner(plan, settings, seconds=1.0, folder=str(tmp_path))
    port = plan.gateway_url.rpartition(":")[2]
    assert (f"Dashboard: http://localhost:{port}/ui" in capsys.readouterr().out) is served


@pytest.mark.parametrize("key_needed", [True, False])
@pytest.mark.parametrize("admin_key_needed", [True, False])
def test_the_printed_commands_are_valid_shell(*, key_needed: bool, admin_key_needed: bool) -> None:
    """They parse, and a key is sent exactly where one is needed; the key itself is never printed."""
    lines = commands("http://localhost:8080", key_needed=key_needed, admin_key_needed=admin_key_needed)
    subprocess.run(["bash", "-n", "-c", "\n".join(lines)], check=True)
    curls = [line for line in lines if "curl" in line]
    for line in curls:
        by_admin = admin_key_needed and ("/arms" in line or "/health" in line)
        assert ("$ADMIN_KEY" in line, "$API_KEY" in line) == (by_admin, key_needed and not by_admin), line
    assert any("ADMIN_KEY=" in line for line in lines) is admin_key_needed
