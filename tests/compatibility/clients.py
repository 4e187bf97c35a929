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

from tests.support.node_packages import NotInstalled, install_packages

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
    folder = LOCAL / "node"
    node = install_packages(HERE / "node", folder)
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
