"""`make export` and `make evaluate DATABASE=1`: the history of this machine, while `make run` runs or not.

    python -m deploy.local.history export --out history.jsonl
    python -m deploy.local.history evaluate --set COST_WEIGHT=-0.5

What follows the command goes to `python -m services.learner export` or `python -m benchmarks.evaluate --database`.
Where `make run` runs, its PostgreSQL is read; else one is started on the data of the last run with the same upstream.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.local import running
from deploy.local.interrupts import StopRequests
from deploy.local.plan import ROOT, Plan, Planner, explicit_settings
from deploy.local.stack import TICK_S, AlreadyRunning, Interrupted, Stack
from shared.errors import DependencyError, SettingsError
from shared.settings import Settings, load_settings

COMMANDS = {
    "export": ("services.learner", "export"),
    "evaluate": ("benchmarks.evaluate", "--database"),
}


@dataclass
class OnlyPostgres(Planner):
    """The database, and nobody who uses it."""

    def plan(self) -> Plan:
        """Choose as for the whole system, on any free port. Raises SettingsError where there is no database."""
        plan = super().plan()
        if plan.data is None or not (plan.data / "postgres" / "data").exists():
            raise SettingsError(f"there is no history in {plan.data}: start with ENABLE_PERSISTENCE=true first")
        plan.parts = [part for part in plan.parts if part.name == "postgres"]
        return plan


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code of the command."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.history")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--folder", type=Path, default=ROOT / ".local", help="data and logs (default: .local)")
    options, more = parser.parse_known_args(arguments)
    folder, command = options.folder.resolve(), [sys.executable, "-m", *COMMANDS[options.command], *more]
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
    """Run `command` on the database that the settings name, that runs, or that is started for it.

    ENABLE_PERSISTENCE may have been set for `make run` alone, in another terminal: a database that is there is read.
    """
    if settings.model_fields_set & {"DATABASE_URL", "DATABASE_HOST"}:
        return subprocess.run(command, check=False, cwd=ROOT).returncode
    settings = settings.model_copy(update={"ENABLE_PERSISTENCE": True})
    planner = OnlyPostgres(settings, folder, folder / "models", say=_say, anywhere=True)
    try:
        with Stack(planner, stop_requests=StopRequests()) as stack:
            stack.start()
            return _run(command, _environment(settings, stack.plan.database_url), stack)
    except AlreadyRunning:
        url = running.database_url(folder)
        if not url:
            raise SettingsError("the running stack has no PostgreSQL: restart it with ENABLE_PERSISTENCE") from None
        return subprocess.run(command, check=False, cwd=ROOT, env=_environment(settings, url)).returncode


def _environment(settings: Settings, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "CONFIG_FILE"}
    return inherited | explicit_settings(settings) | {"DATABASE_URL": database_url}


def _run(command: list[str], environment: dict[str, str], stack: Stack) -> int:
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        while process.poll() is None:
            stack.poll()
            time.sleep(TICK_S)
    finally:
        process.kill()
    return process.returncode


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
