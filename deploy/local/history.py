"""Runs a Python module on the history of this machine, whether `make run` is running or not.

    python -m deploy.local.history services.learner export --out history.jsonl

The module gets the address of PostgreSQL in DATABASE_URL: that of the running stack, else one that is started for it on
the data of the last run with the same upstream. `make export` and `make evaluate DATABASE=1` use this.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import running
from deploy.local.beside import command_environment, default_folder, module_command
from deploy.local.interrupts import StopRequests
from deploy.local.plan import Plan, Planner
from deploy.local.stack import AlreadyRunning, Interrupted, Stack
from shared.errors import DependencyError, SettingsError
from shared.settings import Settings, load_settings


@dataclass
class OnlyPostgres(Planner):
    """Plan of the database alone."""

    def plan(self) -> Plan:
        """Plan as for the whole system, on a free port. Raises SettingsError when there is no database."""
        plan = super().plan()
        if plan.data is None or not (plan.data / "postgres" / "data").exists():
            raise SettingsError(f"there is no history in {plan.data}: start with ENABLE_PERSISTENCE=true first")
        plan.parts = [part for part in plan.parts if part.name == "postgres"]
        return plan


def main(arguments: list[str] | None = None) -> int:
    """Run the module; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.history")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="data and logs (default: %(default)s)")
    parser.add_argument("module", help="module to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the module")
    options = parser.parse_args(arguments)
    folder, command = options.folder.resolve(), module_command(options.module, *options.arguments)
    try:
        return _on_history(load_settings(), folder, command)
    except Interrupted:
        return 130
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except DependencyError as error:
        print(f"stopped, because of {error}", file=sys.stderr)
        return 1


def _on_history(settings: Settings, folder: Path, command: list[str]) -> int:
    """Run `command` on the database of the settings, the running one, or one started for it; return its exit code.

    ENABLE_PERSISTENCE may have been set for `make run` only, in another terminal: an existing database is used anyway.
    """
    if settings.model_fields_set & {"DATABASE_URL", "DATABASE_HOST"}:
        return subprocess.run(command, check=False, env=command_environment(settings, {})).returncode
    settings = settings.model_copy(update={"ENABLE_PERSISTENCE": True})
    planner = OnlyPostgres(settings, folder, folder / "models", say=_say, anywhere=True)
    try:
        with Stack(planner, stop_requests=StopRequests()) as stack:
            stack.start()
            return stack.run_command(command, command_environment(settings, _database(stack.plan.own)))
    except AlreadyRunning:
        database = _database(running.addresses(folder))
        if not database:
            raise SettingsError("the running stack has no PostgreSQL: restart it with ENABLE_PERSISTENCE") from None
        return subprocess.run(command, check=False, env=command_environment(settings, database)).returncode


def _database(addresses: Mapping[str, str]) -> dict[str, str]:
    return {name: url for name, url in addresses.items() if name == "DATABASE_URL"}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
