"""Command `llm-router`: starts the module of the project that does what the user asks for.

The module replaces this process, so that signals reach it. It gets the user's working folder, and imports the project
from the folder of this package alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.gateway.process.version import VERSION

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Command:
    """A module with its first arguments, and what it does."""

    module: tuple[str, ...]
    purpose: str


COMMANDS = {
    "run": Command(("deploy.local",), "start everything on this machine; Ctrl-C stops it"),
    "demo": Command(("deploy.local.demo",), "replay real prompts and watch the router learn"),
    "check-config": Command(("services.gateway", "--check-config"), "print the settings in effect, and check them"),
    "import": Command(("deploy.local.import_scores",), "learn from scores of your own prompts"),
    "evaluate-models": Command(
        ("deploy.local.import_scores", "--command", "evaluate-models"), "let JUDGE_MODEL score models on your prompts"
    ),
    "export": Command(("deploy.local.history", "services.learner", "export"), "write the history, one request a line"),
    "rebuild": Command(("deploy.local.rebuild",), "restore Redis and Qdrant from the history"),
    "evaluate": Command(("benchmarks.evaluate",), "estimate what other settings would have earned"),
    "gateway": Command(("services.gateway",), "run the gateway alone"),
    "embedder": Command(("services.embedder",), "run the embedder alone"),
    "learner": Command(("services.learner",), "run the learner alone, or one of its commands"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process by the command. Raises OSError where that fails."""
    options = _parse(arguments)
    command = [sys.executable, "-P", "-m", *COMMANDS[options.command].module, *options.arguments]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": str(ROOT)})  # noqa: S606 - no shell on purpose


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.purpose}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="llm-router",
        description="An OpenAI-compatible gateway that learns which LLM is worth its price.",
        epilog=f"commands:\n{listed}\n\nllm-router COMMAND --help shows the arguments of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llm-router {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="arguments of the command")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
