"""Commands `make import` and `make evaluate-models`: learn scores on this machine, while `make run` runs or not."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local import running
from deploy.local.beside import command_environment, default_folder, module_command
from deploy.local.chosen_parts import ChosenParts
from deploy.local.interrupts import StopRequests
from deploy.local.plan import SIMULATED
from deploy.local.stack import AlreadyRunning, Interrupted, Stack
from deploy.local.terminal import say, show_line
from shared.errors import DependencyError, SettingsError
from shared.settings import Settings, load_settings

PARTS = {
    "import": ("redis", "qdrant", "postgres", "embedder"),
    "evaluate-models": ("redis", "qdrant", "postgres", "embedder", SIMULATED),
}
"""Parts of the stack that a command of the learner needs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command beside the running stack, or start the parts for it; return the exit code of the command."""
    parser = argparse.ArgumentParser(prog="llm-router import")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="data and logs (default: %(default)s)")
    parser.add_argument("--anywhere", action="store_true", help="use any free ports instead of the default ones")
    parser.add_argument("--command", choices=PARTS, default="import", help="of the learner (default: import)")
    parser.add_argument("file", type=Path, help="import: JSON lines of prompt, model and score; else of prompts")
    options, more = parser.parse_known_args(arguments)
    if not options.file.is_file():
        parser.error(f"{options.file} is not a file")
    folder = options.folder.resolve()
    command = module_command("services.learner", options.command, str(options.file), *more)
    try:
        settings = load_settings()
        names = PARTS[options.command]
        planner = ChosenParts(settings, folder, folder / "models", say=say, anywhere=options.anywhere, names=names)
        try:
            with Stack(planner, show=show_line, stop_requests=StopRequests()) as stack:
                stack.start()
                return stack.run_command(command, planner.environment)
        except AlreadyRunning:
            environment = _environment(settings, running.addresses(folder))
            return subprocess.run(command, check=False, env=environment).returncode
    except Interrupted:
        return 130
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except DependencyError as error:
        say(f"stopped, because of {error}")
        return 1


def _environment(settings: Settings, addresses: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command beside a running stack, whose own parts have these addresses."""
    history = {"ENABLE_PERSISTENCE": "true"} if "DATABASE_URL" in addresses else {}
    return command_environment(settings, history | dict(addresses))


if __name__ == "__main__":
    sys.exit(main())
