"""A log line is complete, without secrets, and has one form for every writer."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.logs import Renderer
from shared.redaction import MASK, is_secret_name, redact
from shared.settings import Settings

WRITE = """
import logging, sys
from shared.logs import get_logger, set_up_logging
from shared.settings import load_settings
set_up_logging(load_settings({"LOG_FORMAT": sys.argv[1], "LOG_LEVEL": "info"}, None), "gateway")
log = get_logger("ours")
log.debug("too fine")
log.info("request", status=200, propensity=0.25, missing=["Bearer abcdef"], stream=False, huge=2**70, odd="\\ud800")
logging.getLogger("library").warning("calling redis://user:hunter2@host with sk-abcdefgh")
try:
    raise ValueError("with Bearer abcdef inside")
except ValueError:
    log.exception("broke")
    logging.getLogger("library").exception("theirs broke")
"""


def written(form: str, project: Path, stderr: int = subprocess.PIPE) -> str:
    """Return what a process writes to standard error in one format."""
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run([sys.executable, "-c", WRITE, form], env=environment, stderr=stderr, check=True)
    return (done.stderr or b"").decode()


def test_json_lines_are_whole_and_have_the_same_facts(project: Path) -> None:
    """Each line is one JSON object with time, level, service and logger; libraries' lines, too; types survive."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in written("json", project).splitlines()]
    assert [line["event"] for line in lines][::2] == ["request", "broke"]
    assert ["ValueError" in line.get("exception", "") for line in lines] == [False, False, True, True]
    for line in lines:
        assert {"event", "level", "logger", "service", "timestamp"} <= set(line)
    assert (lines[0]["status"], lines[0]["propensity"], lines[0]["stream"]) == (200, 0.25, False)
    assert lines[0]["huge"] == 2**70
    assert [line["logger"] for line in lines] == ["ours", "library", "ours", "library"]


def test_a_time_stamp_has_six_digits_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines sort by their time stamps as text."""
    monkeypatch.setattr("time.time", lambda: 1_780_000_000.001250)
    line = json.loads(Renderer("gateway")(logging.getLogger("ours"), "info", {"event": "request"}))
    assert re.fullmatch(r"2026-05-28T\d\d:\d\d:\d\d\.00125\dZ|.*\.001249Z", line["timestamp"])


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_writer_lets_a_secret_out(form: str, project: Path) -> None:
    """Keys and passwords are cut out of our lines, of libraries' lines, of nested values and of tracebacks."""
    text = written(form, project)
    assert "too fine" not in text
    assert [secret for secret in ("abcdef", "hunter2") if secret in text] == []
    assert text.count("********") >= 4


def test_auto_is_json_into_a_pipe_and_text_on_a_terminal(project: Path) -> None:
    """LOG_FORMAT=auto looks at where standard error goes."""
    assert written("auto", project).startswith("{")
    ours, theirs = pty.openpty()
    try:
        written("auto", project, stderr=theirs)
        assert not os.read(ours, 4096).startswith(b"{")
    finally:
        os.close(ours)
        os.close(theirs)


def rendered(event: dict[str, Any]) -> bytes:
    """Return a line of JSON."""
    return Renderer("gateway")(logging.getLogger("ours"), "info", dict(event))


@pytest.mark.parametrize("value", ["Bearer abc", "bEaRER abc", "x sk-123456", "SK-123456 y", "https://me:pw@host/x"])
def test_the_quick_search_misses_nothing(value: str) -> None:
    """Whatever the thorough pattern finds, the quick one finds as well, however it is written."""
    assert MASK in redact(value)
    assert MASK.encode() in rendered({"event": value})


@pytest.mark.parametrize("name", ["api_key", "APIKEY", "Authorization", "db_password", "secret_of", "Some_Token"])
def test_a_secret_is_known_by_its_name(name: str) -> None:
    """At the top of a line and inside a value."""
    for event in ({name: "hunter2"}, {"event": "x", "nested": [{name: "hunter2"}]}):
        assert b"hunter2" not in rendered(event)
    assert b'"completion_tokens":7' in rendered({"completion_tokens": 7})


def test_every_secret_setting_has_a_name_that_is_redacted() -> None:
    """A new secret is typed as one in `Settings`; its name is known to the redaction of logs, too."""
    secret = [name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)]
    assert len(secret) >= 8
    addresses = {"DATABASE_URL"}  # redacted by its form
    assert [name for name in secret if not is_secret_name(name) and name not in addresses] == []
