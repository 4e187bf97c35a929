"""Command `make run`: runs the whole system on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from deploy.local.beside import default_folder
from deploy.local.interrupts import StopRequests
from deploy.local.model_lines import model_lines
from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Interrupted, Stack
from deploy.local.terminal import say, show_banner, show_line
from shared.errors import DependencyError, SettingsError
from shared.settings import load_settings
from shared.standard_streams import protect

MOST_GATEWAYS = 64


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code: 0 after a signal, 1 when a part could not start, 2 for wrong settings."""
    protect(stdout=True)  # a closed or stuck terminal must not end or block the stack
    parser = argparse.ArgumentParser(prog="llm-router run", description="Run the whole system on this machine.")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="data and logs (default: %(default)s)")
    parser.add_argument("--models", type=Path, help="embedding models (default: FOLDER/models)")
    parser.add_argument("--replay", help="recorded outcomes for the simulated upstream: a folder, or `example`")
    parser.add_argument("--speed", type=float, default=1.0, help="speed of the simulated upstream")
    parser.add_argument("--failures", type=float, default=1.0, help="failure rate of the simulated upstream; 0: none")
    parser.add_argument("--anywhere", action="store_true", help="use any free ports instead of the default ones")
    parser.add_argument("--gateways", type=_count, default=1, help="gateways on one port (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    requests, began = StopRequests(), time.monotonic()
    try:
        settings = load_settings()
        simulation = Simulation(options.replay, options.speed, options.failures)
        models = (options.models or folder / "models").resolve()
        planner = Planner(
            settings, folder, models, simulation, say, options.anywhere, sys.stdout.isatty(), options.gateways
        )
        with Stack(planner, show=show_line, stop_requests=requests) as stack:
            say(f"starting {', '.join(part.name for part in stack.plan.parts)}")
            try:
                stack.start()
                seconds = time.monotonic() - began
                models_now = model_lines(stack.plan.gateway_url, settings)
                show_banner(stack.plan, settings, seconds=seconds, folder=str(folder), models=models_now)
                stack.run()
            except Interrupted:
                say("stopping: the gateway finishes open requests first")
                raise
    except Interrupted:
        say("stopped")
        return 0
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except DependencyError as error:
        say(f"stopped, because of {error}")
        return 1
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_GATEWAYS:
        raise argparse.ArgumentTypeError(f"{text}: a number from 1 to {MOST_GATEWAYS}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
