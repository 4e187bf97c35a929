"""`python -m services.learner [run | dead | requeue | forget | rebuild | export]`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from services.learner import commands, dead_letters
from services.learner.forget import Forgotten, Source, forget, owner_of
from services.learner.rebuild import Refused
from services.learner.worker import Adapters, open_adapters, run
from shared import interpreter
from shared.errors import DependencyError, SettingsError
from shared.logs import set_up_logging
from shared.redaction import redact_text
from shared.settings import Settings, load_settings
from shared.standard_streams import protect

COMMANDS = ("run", "dead", "requeue", "forget", "rebuild", "export")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    protect(redact_text)
    parser = argparse.ArgumentParser(prog="python -m services.learner", description="Learns from outcomes and ratings.")
    parser.add_argument("command", nargs="?", default="run", choices=COMMANDS)
    parser.add_argument("--limit", type=int, default=100, help="most dead letters to list")
    parser.add_argument("--key", help="forget: what this API key, or the owner with this hash, has taught")
    parser.add_argument("--arm", help="forget: what was learned of this model")
    parser.add_argument(
        "--since", type=_moment, help="forget, export: only requests made since, as in 2026-11-23T08:00+01:00"
    )
    parser.add_argument("--replace", action="store_true", help="rebuild: first forget what Redis and Qdrant hold")
    parser.add_argument("--out", type=Path, help="export: the file; standard output without")
    parser.add_argument("--vectors", action="store_true", help="export: vectors, too")
    options = parser.parse_args(arguments)
    if options.command == "forget" and not (options.key or options.arm or options.since):
        parser.error("forget needs --key, --arm or --since")
    try:
        settings = load_settings()
        set_up_logging(settings, "learner")
        interpreter.prepare()
        if options.command == "run":
            return uvloop.run(run(settings))
        uvloop.run(_command(settings, options))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (DependencyError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _command(settings: Settings, options: argparse.Namespace) -> None:
    if options.command == "rebuild":
        print(await commands.rebuild_all(settings, wipe=options.replace))
        return
    if options.command == "export":
        exporting = commands.export_all(settings, options.out, since=options.since or 0.0, vectors=options.vectors)
        print(await exporting, file=sys.stderr)
        return
    async with open_adapters(settings) as adapters:
        if options.command == "forget":
            await _forget(adapters, options)
        elif options.command == "requeue":
            print(f"{await dead_letters.requeue(adapters.queue)} events moved back to the stream")
        else:
            lines = await dead_letters.listing(adapters.queue, options.limit)
            print("\n".join(lines) if lines else "no dead letters")


async def _forget(adapters: Adapters, options: argparse.Namespace) -> None:
    owner = owner_of(options.key) if options.key else None
    source = Source(owner=owner, arm=options.arm, since=options.since or 0.0)
    shown = sys.stderr.isatty()

    def progress(done: Forgotten) -> None:
        if shown:
            print(f"\r{done.requests} requests", end="", file=sys.stderr, flush=True)

    done = await forget(source, adapters.log, adapters.posteriors, progress)
    if shown:
        print(file=sys.stderr)
    print(
        f"{done.requests} requests: {done.ratings} ratings and {done.outcomes} outcomes taken out of what was learned"
    )


if __name__ == "__main__":
    sys.exit(main())
