"""Snippets of `docs/clients.md`: each one runs as it stands, with the gateway's address and key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compatibility.clients import HERE, LOCAL, ROOT
from tests.compatibility.conftest import KEY, ServedGateway

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SNIPPETS = {
    name: (language, code)
    for name, language, code in re.findall(r"^## ([^\n]+)\n\n```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
}
PYTHON, NODE = LOCAL / "clients" / "bin" / "python", LOCAL / "clients-node"
FILES = {"python": "snippet.py", "js": "snippet.mjs", "sh": "snippet.sh"}
COMMANDS = {"python": [str(PYTHON)], "js": ["node"], "sh": ["bash", "-e"]}
NEEDED = {"python": PYTHON, "js": NODE / "node_modules", "sh": NODE / "node_modules"}

pytestmark = pytest.mark.timeout(240)  # some frameworks take half a minute to import


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_as_it_stands(gateway: ServedGateway, name: str, tmp_path: Path) -> None:
    """It prints what the simulated models said, or what the framework made of that, for each print of the snippet."""
    language, code = SNIPPETS[name]
    if not NEEDED[language].exists():
        pytest.skip("NOT TESTED: the clients are not installed: `make clients` does it (1.3 GB)")
    script = tmp_path / FILES[language]
    code = code.replace("http://localhost:8080", gateway.base_url.removesuffix("/v1")).replace("your-key", KEY)
    script.write_text(code, encoding="utf-8")
    if language == "js":
        (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    path = f"{NODE / 'node_modules' / '.bin'}:{Path(shutil.which('node') or '/usr/bin/node').parent}:/usr/bin:/bin"
    environment = {"HOME": str(tmp_path), "PATH": path, "DO_NOT_TRACK": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*COMMANDS[language], script.name],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    prints = max(1, len(re.findall(r"\bprint\(|console\.log\(", code)))
    assert done.stdout.count("simulated") >= prints, done.stdout


def test_the_table_names_the_locked_versions() -> None:
    """And every client that has a snippet."""
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "deploy/requirements/clients.txt").read_text("utf-8"), re.MULTILINE)
    )
    locked |= json.loads((HERE / "node_clients" / "package.json").read_text("utf-8"))["dependencies"]
    rows = re.findall(r"^\| \[([^]]+)\]\([^)]*\) \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(SNIPPETS)
    for _, versions in rows:
        found = re.findall(r"`([^`]+)` ([\w.]+)", versions)
        assert found
        assert all(locked[package] == version for package, version in found)
