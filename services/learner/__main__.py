"""`python -m services.learner [run | dead | requeue]`."""

from __future__ import annotations

import argparse
import sys

import uvloop

from services.learner import dead_letters
from services.learner.worker import run
from shared.errors import DependencyError, SettingsError
from shared.logs import set_up_logging
from shared.settings import Settings, load_settings
from shared.storage.redis_connection import connect
from shared.storage.redis_queue import RedisEventQueue


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.learner", description="Learns from outcomes and ratings.")
    parser.add_argument("command", nargs="?", default="run", choices=["run", "dead", "requeue"])
    parser.add_argument("--limit", type=int, default=100, help="most dead letters to list")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        set_up_logging(settings, "learner")
        uvloop.run(run(settings) if options.command == "run" else _command(settings, options.command, options.limit))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except DependencyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _command(settings: Settings, command: str, limit: int) -> None:
    client = connect(settings)
    try:
        queue = RedisEventQueue(client)
        if command == "requeue":
            print(f"{await dead_letters.requeue(queue)} events moved back to the stream")
            return
        lines = await dead_letters.listing(queue, limit)
        print("\n".join(lines) if lines else "no dead letters")
    finally:
        await client.aclose(close_connection_pool=True)


if __name__ == "__main__":
    sys.exit(main())
