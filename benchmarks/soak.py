"""Command `make soak`: load on a whole stack while a share of all model calls fails; then checks what was lost.

It checks the guarantees: no 5xx while a model was left to call, memory and descriptors constant after the first minute,
every request recorded once, every accepted rating learned once. With `--kill`, one part is killed every minute.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.soaking.account import Records, read_records
from benchmarks.soaking.load import Load, Tally
from benchmarks.soaking.watch import STORES, Watcher, supervise
from deploy.local.demo.reconciliation import Reconciliation, reconcile
from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import Settings

MODELS = ("google/gemini-2.5-flash", "openai/gpt-4o-mini", "anthropic/claude-3.5-haiku")
DEFAULT = "openai/gpt-4o"
SPEED = 10.0
"""Answers take about 50 ms, silent faults two seconds."""

KILL_EVERY_S = 60.0


def main() -> int:
    """Run the soak; return the exit code, 0 when every check passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Load with faults, and checks.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rps", type=float, default=50.0)
    parser.add_argument("--faults", type=float, default=0.2, help="share of model calls that fail, in any way")
    parser.add_argument("--kill", action="store_true", help="kill one dependency a minute")
    options = parser.parse_args()
    settings = Settings.model_validate(
        {
            "HOST": "127.0.0.1",
            "LOG_LEVEL": "warn",
            "LLM_MODELS": MODELS,
            "DEFAULT_MODEL": DEFAULT,
            "FIRST_BYTE_TIMEOUT_S": 2.0,  # some faults are silent
            "STREAM_GAP_TIMEOUT_S": 2.0,
            "RETRY_BUDGET": 1.0,  # 20 % of faults would use up the default of 20 % by themselves
        }
    )
    with tempfile.TemporaryDirectory(prefix="llm-router-soak-", ignore_cleanup_errors=True) as folder:
        simulation = Simulation(speed=SPEED, failures=0.0, faults=options.faults)
        planner = Planner(settings, Path(folder), ROOT / ".local" / "models", simulation, anywhere=True)
        with Stack(planner) as stack:
            print(f"Starting a separate stack; then {options.minutes:g} minutes at {options.rps:g} requests/s ...")
            stack.start()
            return asyncio.run(_soak(stack, options))


async def _soak(stack: Stack, options: argparse.Namespace) -> int:
    tally, watcher, seconds = Tally(), Watcher(stack), 60.0 * options.minutes
    load = Load(stack.plan.gateway_url, f"soak-{int(time.time())}", options.rps, seconds)
    beside = [asyncio.create_task(watcher.follow(seconds)), asyncio.create_task(supervise(stack))]
    killing = asyncio.create_task(watcher.kill(KILL_EVERY_S)) if options.kill else None
    await load.send(tally)
    if killing is not None:
        killing.cancel()
        await asyncio.sleep(10.0)  # time for the last killed part to return, and for spooled records
    account = await reconcile(stack.plan.redis_url, len(tally.rated))
    await asyncio.sleep(2.0)  # the load's connections are closed: what is open now is a leak
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    records = await read_records(stack.plan.redis_url, tally.failed, len(MODELS) + 1)
    return _report(options, tally, watcher, account, records)


def _report(
    options: argparse.Namespace, tally: Tally, watcher: Watcher, account: Reconciliation, records: Records
) -> int:
    overhead = np.percentile(tally.overhead_ms, (50, 99))
    again = sum(records.attempts.elements()) - tally.sent
    print(f"\nsent {tally.sent} in {options.minutes:g} min; faults in {options.faults:.0%} of model calls, "
          f"{again} retries; overhead p50 {overhead[0]:.1f} ms, p99 {overhead[1]:.1f} ms")  # fmt: skip
    for end, count in tally.ends.most_common():
        print(f"  {count:7d}  {end}")
    for reason, count in records.reasons.most_common():
        print(f"           5xx, {reason}: {count}")
    if watcher.kills:
        print(f"  killed {watcher.kills} times: {', '.join(sorted(watcher.restarted))}")
    print(f"\n{'process':<10} {'RSS MiB: 1st min':>16} {'end':>7} {'ratio':>6} {'fds':>9} {'threads':>9}")
    for name, (first, last, flat) in watcher.judged().items():
        note = (
            "stores data, not checked"
            if name in STORES
            else "restarted"
            if name in watcher.restarted
            else ""
            if flat
            else "GROWS"
        )
        print(
            f"{name:<10} {first.rss_kib / 1024:16.1f} {last.rss_kib / 1024:7.1f} {last.rss_kib / first.rss_kib:6.2f} "
            f"{first.fds:4d}{last.fds:5d} {first.threads:4d}{last.threads:5d}  {note}"
        )
    checks = {
        f"5xx although a model was left to call: {len(records.needless)}": not records.needless,
        f"requests without a response: {tally.unreached}": tally.unreached == 0,
        f"refused at the limit of concurrent requests: {tally.shed}": tally.shed == 0,
        f"sent {tally.sent} = recorded {records.recorded} + refused {tally.shed}": tally.sent
        == records.recorded + tally.shed,
        account.line(): account.balanced,
        f"parts that ended by themselves: {watcher.ended()}": watcher.ended() == 0,
        f"ratings that were not accepted: {tally.not_rated}": tally.not_rated == 0,
        f"memory, descriptors and threads constant; largest growth: {watcher.most_grown()}": all(
            flat for *_, flat in watcher.judged().values()
        ),
    }
    print()
    for text, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
