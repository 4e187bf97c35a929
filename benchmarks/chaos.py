"""Command `make chaos`: every fault in every part of a whole stack under load, and what clients saw of it.

Each cell damages one part for some seconds, then waits until the stack is healthy and nothing is left to learn, and
compares what clients were told with Redis and PostgreSQL. An answer is acknowledged when the client got all of it
(200), a rating when it was accepted (202). The upstream is simulated; everything else is real.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.load.processes import cpu_model
from benchmarks.soaking.broken_world import PARTS, BrokenWorld, clock_library, disks, private_namespace
from benchmarks.soaking.evaluations import evaluate_under_kills
from benchmarks.soaking.faults import FAULTS, Site
from benchmarks.soaking.forwarder import forwarding
from benchmarks.soaking.ledger import Account, Ledger
from benchmarks.soaking.load import Load, Tally
from benchmarks.soaking.watch import supervise
from deploy.local.plan import ROOT, Simulation
from deploy.local.stack import Stack
from shared.errors import DependencyError
from shared.settings import Settings

MODELS = ("google/gemini-2.5-flash", "openai/gpt-4o-mini", "anthropic/claude-3.5-haiku")
SPEED = 10.0
BEFORE_S, AFTER_S = 1.0, 4.0
HEALTHY_TIMEOUT_S = 90.0
PROBE_S = 0.25
NO_FAULT = "(none)"
EVALUATIONS = ("learner", "evaluations")
"""Cell with a stack of its own, whose learner is killed while evaluations are in work."""

SETTINGS: dict[str, Any] = {
    "HOST": "127.0.0.1",
    "LOG_LEVEL": "warn",
    "LLM_MODELS": MODELS,
    "DEFAULT_MODEL": MODELS[0],
    "ENABLE_PERSISTENCE": True,
    "FEEDBACK_RPM": 0,
    "FIRST_BYTE_TIMEOUT_S": 5.0,
    "STREAM_GAP_TIMEOUT_S": 5.0,
}
HEAD = ("part", "fault", "sent", "200", "5xx", "cut", "no reply", "longest gap", "rated", "refused", "lost", "doubled",
        "healthy after")  # fmt: skip
WIDTHS = (10, 10, 6, 6, 5, 5, 9, 12, 6, 8, 5, 8, 14)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; return the exit code, 0 when no cell has a difference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description="Faults under load.")
    parser.add_argument("--only", type=_cells, default="", help="cells: part, part/fault or /fault, with commas")
    parser.add_argument("--rps", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a fault lasts")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # in a namespace of its own
    options = parser.parse_args(arguments)
    if not options.inside:
        command = private_namespace([sys.executable, "-m", "benchmarks.chaos", *sys.argv[1:], "--inside"])
        os.execvp(command[0], command)  # noqa: S606 - without a shell on purpose
    with tempfile.TemporaryDirectory(prefix="llm-router-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        world = BrokenWorld(
            Settings.model_validate(SETTINGS), folder / "broken", ROOT / ".local" / "models",
            Simulation(speed=SPEED, failures=0.0), anywhere=True,
        )  # fmt: skip
        try:
            faulty = 0
            if cells := [cell for cell in options.only if cell != EVALUATIONS]:
                with disks(world), Stack(world) as stack:
                    faulty = asyncio.run(_matrix(stack, world, cells, options))
            if EVALUATIONS in options.only:
                evaluated = asyncio.run(evaluate_under_kills(folder / "judged", SETTINGS))
                print(f"\n{'ok  ' if evaluated.holds else 'FAIL'} {evaluated.line()}")
                faulty += not evaluated.holds
        except DependencyError as error:
            print(error, file=sys.stderr)
            return 1
        return 1 if faulty else 0


def _cells(text: str) -> list[tuple[str, str]]:
    """Parse the cells to run; all for an empty text. A row without a fault comes before them."""
    cells = [*itertools.product(PARTS, FAULTS), EVALUATIONS]
    wanted = [word.partition("/")[::2] for word in text.split(",") if word]
    for one in wanted:
        if not any(_fits(cell, one) for cell in cells):
            known = f"{', '.join(PARTS)} with {', '.join(FAULTS)}, and {'/'.join(EVALUATIONS)}"
            raise argparse.ArgumentTypeError(f"{'/'.join(one)}: no such cell; there are {known}")
    chosen = [cell for cell in cells if any(_fits(cell, one) for one in wanted)] if wanted else cells
    return chosen if chosen == [EVALUATIONS] else [(NO_FAULT, ""), *chosen]


def _fits(cell: tuple[str, str], wanted: tuple[str, ...]) -> bool:
    return all(word in {"", name} for name, word in zip(cell, wanted, strict=True))


async def _matrix(
    stack: Stack, world: BrokenWorld, cells: Sequence[tuple[str, str]], options: argparse.Namespace
) -> int:
    """Run the cells; print the table; return the number of rows with a difference."""
    async with contextlib.AsyncExitStack() as running:
        forwarders = {
            route: await running.enter_async_context(forwarding(route.target, route.port)) for route in world.routes
        }
        await asyncio.to_thread(stack.start)
        site = Site(stack, world, forwarders)
        ledger = Ledger(stack.plan.redis_url, stack.plan.own["DATABASE_URL"])
        gateway = next(part.url for part in stack.plan.parts if part.name == "gateway")
        health = Health(gateway)
        for loop in (supervise(stack), health.follow()):
            task = asyncio.create_task(loop)
            running.callback(task.cancel)
        print(f"{options.rps:g} requests/s; a fault lasts {options.seconds:g} s, "
              f"a row covers {BEFORE_S + options.seconds + AFTER_S:g} s; {cpu_model()}, {os.cpu_count()} cores, "
              f"load average {os.getloadavg()[0]:.1f}\n")  # fmt: skip
        print(_line(HEAD), flush=True)
        faulty = 0
        for part, fault in cells:
            if fault == "clock" and clock_library() is None:
                print(_line((part, fault, "not run: the package libfaketime is not installed")), flush=True)
                faulty += 1
                continue
            row, account = await _cell(site, ledger, health, (part, fault), options)
            print(_line(row), flush=True)
            if not account.balanced:
                faulty += 1
                print(f"    {account.words()}", flush=True)
    print(f"\n{len(cells) - faulty} of {len(cells)} rows without a difference between clients, Redis and PostgreSQL")
    print("parts started again: " + ", ".join(f"{name} {one.count}" for name, one in stack.restarts.items()))
    return faulty


async def _cell(
    site: Site, ledger: Ledger, health: Health, cell: tuple[str, str], options: argparse.Namespace
) -> tuple[Sequence[str], Account]:
    """Damage a part under load; return the row of the table, and the account."""
    part, fault = cell
    tally, prefix = Tally(), f"chaos-{part.strip('()')}-{fault}-{int(time.time())}"
    load = Load(site.stack.plan.gateway_url, prefix, options.rps, BEFORE_S + options.seconds + AFTER_S)
    sending = asyncio.create_task(load.send(tally))
    await asyncio.sleep(BEFORE_S)
    began = time.monotonic()
    async with FAULTS[fault](site, part) if fault else contextlib.nullcontext():
        await asyncio.sleep(options.seconds)
    mark = began if fault == "kill" else time.monotonic()
    await sending
    healthy_s = await health.healthy_after(mark)
    account = await ledger.account(prefix, tally.sent, tally.answered, tally.rated)
    times = sorted([began, *(at for at in tally.answered_at if at > began)])
    gap_s = max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
    cut = tally.ends["200 incomplete, with an error event"]
    never = f"over {HEALTHY_TIMEOUT_S:.0f} s"
    return (
        part,
        fault,
        str(tally.sent),
        str(len(tally.answered)),
        str(len(tally.failed) + tally.shed),
        str(cut),
        str(tally.unreached),
        f"{gap_s:.1f} s",
        str(len(tally.rated)),
        str(sum(number for end, number in tally.ends.items() if end.startswith("feedback:"))),
        str(account.lost),
        str(account.doubled),
        never if healthy_s is None else f"{healthy_s:.1f} s",
    ), account


@dataclass
class Health:
    """Follows `/health` of the gateway at its own address, past the forwarders."""

    url: str
    bad_until: float = field(default_factory=time.monotonic)
    good_at: float = 0.0
    why: str = ""

    async def follow(self) -> None:
        """Ask again and again whether every part is ok."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            while True:
                self.why = await self._trouble(session)
                if self.why:
                    self.bad_until = time.monotonic()
                else:
                    self.good_at = time.monotonic()
                await asyncio.sleep(PROBE_S)

    async def _trouble(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.get(f"{self.url}/health") as response:
                parts = (await response.json())["parts"]
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"gateway: {type(error).__name__}"
        return ", ".join(f"{name}: {part['detail']}" for name, part in parts.items() if part["status"] != "ok")

    async def healthy_after(self, mark: float) -> float | None:
        """Wait until every part is ok; return the seconds from `mark` to then, None after HEALTHY_TIMEOUT_S."""
        asked = time.monotonic()
        while self.good_at < max(asked, self.bad_until):
            if time.monotonic() - asked > HEALTHY_TIMEOUT_S:
                print(f"    not healthy: {self.why}")
                return None
            await asyncio.sleep(PROBE_S / 2)
        return max(0.0, self.bad_until + PROBE_S - mark) if self.bad_until > mark else 0.0


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
