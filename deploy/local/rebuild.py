"""Command `make rebuild`: restores Redis and Qdrant of this machine from PostgreSQL, while `make run` is stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.local.beside import default_folder, module_command
from deploy.local.chosen_parts import ChosenParts
from deploy.local.interrupts import StopRequests
from deploy.local.stack import Interrupted, Stack
from deploy.local.terminal import say, show_line
from shared.errors import DependencyError, SettingsError
from shared.settings import load_settings

STORES = ("redis", "qdrant", "postgres")


def main(arguments: list[str] | None = None) -> int:
    """Start the stores, rebuild, stop; return the exit code of the rebuild."""
    parser = argparse.ArgumentParser(prog="llm-router rebuild")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="data and logs (default: %(default)s)")
    parser.add_argument("--anywhere", action="store_true", help="use any free ports instead of the default ones")
    parser.add_argument("--replace", action="store_true", help="first delete what Redis and Qdrant hold")
    options = parser.parse_args(arguments)
    folder, words = options.folder.resolve(), ["--replace"] if options.replace else []
    try:
        settings = load_settings()
        if not settings.ENABLE_PERSISTENCE:
            print("ENABLE_PERSISTENCE is not set: there is no history to rebuild from", file=sys.stderr)
            return 2
        planner = ChosenParts(settings, folder, folder / "models", say=say, anywhere=options.anywhere, names=STORES)
        requests = StopRequests()
        with Stack(planner, show=show_line, stop_requests=requests) as stack:
            stack.start()
            return stack.run_command(module_command("services.learner", "rebuild", *words), planner.environment)
    except Interrupted:
        return 130
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except DependencyError as error:
        say(f"stopped, because of {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
