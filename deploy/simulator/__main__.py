"""Command line of the simulated upstream: `python -m deploy.simulator --port 8090 [--replay FOLDER|example]`."""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path

from aiohttp import web

from deploy.simulator.account import MODELS, NewAccount
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.models import InventedWorld, RecordedWorld, World
from deploy.simulator.recorded_outcomes import load_outcomes


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return number


def main() -> int:
    """Serve until SIGTERM; return the exit code, 2 when the recorded outcomes cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m deploy.simulator", description="A simulated upstream.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--replay", metavar="FOLDER", help="recorded outcomes to replay; `example`: those of the demo")
    parser.add_argument("--speed", type=positive, default=1.0, help="divides every latency")
    parser.add_argument("--failures", type=float, default=1.0, help="multiplies every failure rate; 0: none")
    parser.add_argument("--faults", type=float, default=0.0, help="share of calls with a random fault")
    parser.add_argument(
        "--account", choices=["new"], help="simulate an account without credit: its model list, limits and errors"
    )
    parser.add_argument(
        "--judge",
        default="exact",
        metavar="BEHAVIOUR",
        help="how rubric prompts are answered: `exact`, `noisy;sd=0.25`, ...",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of latencies and failures")
    options = parser.parse_args()
    try:
        world: World = InventedWorld(MODELS) if options.account else InventedWorld()
        if options.replay:
            world = RecordedWorld(load_outcomes(None if options.replay == "example" else Path(options.replay)))
        pace = Pace(options.speed, options.failures, options.faults)
        account = NewAccount() if options.account else None
        app = Simulator(world, pace, random.Random(options.seed), account, options.judge).application()
    except (OSError, ValueError, KeyError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    print(f"simulated upstream: {len(world.models)} models on http://{options.host}:{options.port}/v1", file=sys.stderr)
    # Do not wait for open streams: nothing is lost.
    web.run_app(app, host=options.host, port=options.port, print=None, shutdown_timeout=0.1, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
