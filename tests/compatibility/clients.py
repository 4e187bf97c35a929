"""Supported clients, their features, and how each is run. The table in `docs/api.md` says the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LOCAL = ROOT / ".local"

FEATURES: Mapping[str, str] = {
    "chat": "chat completion",
    "stream": "`stream`",
    "usage": "`stream_options.include_usage`",
    "tools": "tools: called, answered, streamed",
    "structured": "structured output (`response_format`)",
    "image": "images in messages",
    "n": "`n`",
    "stop": "`stop`",
    "logprobs": "`logprobs`, `top_logprobs`",
    "unknown": "unknown fields",
    "models": "`models.list`, `models.retrieve`",
    "errors": "errors are the client's own exceptions",
    "cut": "a stream that breaks off raises",
}


class NotInstalled(Exception):
    """The client is not there; says how to get it."""


@dataclass(frozen=True)
class Client:
    """One client: its column in the table, what it cannot do, and the command that tries everything else."""

    name: str
    command: Callable[[], list[str]]
    lacks: frozenset[str] = frozenset()

    @property
    def features(self) -> list[str]:
        """What is promised."""
        return [feature for feature in FEATURES if feature not in self.lacks]

    def run(self, base_url: str, key: str) -> dict[str, str | None]:
        """Try everything; return the error by feature, None where it worked."""
        done = subprocess.run([*self.command(), base_url, key], capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {line["feature"]: line["error"] for line in lines}


def _node() -> list[str]:
    """Install the locked package into `.local/node`, once for each lock."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NotInstalled("npm and node are not on PATH")
    folder, lock = LOCAL / "node", "package-lock.json"
    wanted = (HERE / "node" / lock).read_bytes()
    installed = folder / "installed.json"
    if not installed.is_file() or installed.read_bytes() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock):
            shutil.copyfile(HERE / "node" / name, folder / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(f"npm ci failed: {done.stderr[-500:]}")
        installed.write_bytes(wanted)
    shutil.copyfile(HERE / "node" / "client.mjs", folder / "client.mjs")  # beside its node_modules
    return [node, str(folder / "client.mjs")]


def _langchain() -> list[str]:
    python = LOCAL / "langchain" / "bin" / "python"
    if not python.is_file():
        raise NotInstalled("LangChain is not installed: `make langchain` does it (135 MB)")
    return [str(python), str(HERE / "langchain_client.py")]


def _curl() -> list[str]:
    if shutil.which("curl") is None:
        raise NotInstalled("curl is not on PATH")
    return [sys.executable, str(HERE / "curl_client.py")]


CLIENTS: Mapping[str, Client] = {
    "python": Client("OpenAI Python", lambda: [sys.executable, str(HERE / "python_client.py")]),
    "node": Client("OpenAI Node", _node),
    "langchain": Client("LangChain `ChatOpenAI`", _langchain, lacks=frozenset({"models"})),
    "curl": Client("curl", _curl),
}


def table() -> str:
    """Return the table as it stands in `docs/api.md`."""
    head = ["What", *(client.name for client in CLIENTS.values())]
    rows = [
        [text, *("yes" if feature in client.features else "-" for client in CLIENTS.values())]
        for feature, text in FEATURES.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


SENT: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "usage": lambda body: body["stream_options"]["include_usage"] is True,
    "tools": lambda body: body["tools"][0]["function"]["name"] == "weather",
    "structured": lambda body: body["response_format"]["type"] == "json_schema",
    "image": lambda body: body["messages"][0]["content"][1]["type"] == "image_url",
    "n": lambda body: body["n"] == 2,
    "stop": lambda body: body["stop"] == ["simulated answer"],
    "logprobs": lambda body: (body["logprobs"], body["top_logprobs"]) == (True, 2),
    "unknown": lambda body: body["some_new_field"] == {"a": 1},
}
"""What the model's side must have got of it."""
