"""Command `make demo`: a separate stack whose simulated upstream replays recorded outcomes, with traffic."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from deploy.local.beside import default_folder
from deploy.local.demo.evaluation_cost import evaluation_cost
from deploy.local.demo.reconciliation import reconcile
from deploy.local.demo.screen import Screen
from deploy.local.demo.traffic import Progress, Traffic
from deploy.local.demo.utility import utilities
from deploy.local.interrupts import StopRequests
from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Interrupted, Stack
from deploy.local.terminal import dashboard_url
from deploy.simulator.judge import JUDGE
from deploy.simulator.models import RecordedWorld
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes
from shared.command_names import as_typed
from shared.errors import DependencyError, SettingsError
from shared.settings import Settings, load_settings

KEPT = frozenset(
    (
        *("FEEDBACK_WEIGHT", "LATENCY_WEIGHT", "COST_WEIGHT", "EXPLORATION_RATE", "SIMILARITY_THRESHOLD"),
        *("MAX_SIMILAR_REQUESTS", "RECENCY_DAYS", "MIN_SIMILAR_REQUESTS", "MIN_CONFIDENCE_SCORE", "OPTIMISTIC_PRIOR"),
        *("EXPLORATION_BONUS", "MIN_REQUESTS_FOR_GLOBAL", "SAFE_START", "EMBEDDING_MODEL", "MODEL_CACHE_DIR"),
        *("EMBED_TIMEOUT_MS", "SEARCH_TIMEOUT_MS", "REDIS_TIMEOUT_MS", "LOG_LEVEL"),
    )
)
"""Settings of the user that apply to the demo. It sets all others, so that it touches no other stack."""

SIMULATED_USD = 1000.0
"""Budget of evaluations: simulated money."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit code, 0 when all feedback was learned exactly once."""
    options = _options(arguments)
    # Without a terminal there is no width: wide enough that no name is cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    requests = StopRequests()
    try:
        outcomes = load_outcomes(options.data)
        rng = np.random.default_rng(options.seed)
        chosen_rows = rng.permutation(len(outcomes))[: options.requests]
        settings = demo_settings(load_settings(), outcomes, judged=options.judge is not None)
        with tempfile.TemporaryDirectory(prefix="llm-router-demo-", ignore_cleanup_errors=True) as folder:
            replay = str(options.data.resolve()) if options.data else "example"
            simulation = Simulation(replay=replay, judge=options.judge or "exact")
            planner = Planner(
                settings, Path(folder), _models(settings), simulation, anywhere=True, terminal=sys.stdout.isatty()
            )
            start_log = _StartLog(console)
            with Stack(planner, show=start_log, stop_requests=requests) as stack:
                console.print(f"Starting a separate stack whose upstream replays {outcomes.name} ...")
                stack.start()
                start_log.end()
                console.print(f"Watch it learn: {dashboard_url(stack.plan)}")
                return asyncio.run(_demo(stack, outcomes.take(chosen_rows), settings, options, console))
    except Interrupted:
        console.print("stopped")
        return 130
    except (SettingsError, DependencyError, OSError, ValueError, KeyError) as error:
        console.print(f"demo: {error}", markup=False)
        return 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llm-router demo", description=as_typed(str(__doc__)))
    parser.add_argument("--data", type=Path, help="folder of recorded outcomes (default: the example of paretobandit)")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice and order of the prompts")
    parser.add_argument("--feedback", type=float, default=1.0, help="share of the answers that are rated, 0 to 1")
    parser.add_argument(
        "--judge", help="evaluate with a simulated judge: `exact`, `noisy`, `biased`, ... (deploy/simulator/judge.py)"
    )
    parser.add_argument("--rate", type=float, default=25.0, help="requests per second")
    parser.add_argument("--at-once", type=int, default=12, help="concurrent requests at most")
    return parser.parse_args(arguments)


def demo_settings(own: Settings, outcomes: Outcomes, *, judged: bool = False) -> Settings:
    """Return the demo's settings: the user's policy, the data's models, and nothing of another stack."""
    kept = {name: getattr(own, name) for name in own.model_fields_set & KEPT}
    return Settings.model_validate(
        kept
        | {
            "HOST": "127.0.0.1",
            "LLM_MODELS": outcomes.models,
            "DEFAULT_MODEL": outcomes.models[0],
            "LOG_LEVEL": kept.get("LOG_LEVEL", "warn"),
            "JUDGE_MODEL": JUDGE.id if judged else None,
            "EVALUATION_BUDGET_USD_PER_DAY": SIMULATED_USD,
        }
    )


def _models(settings: Settings) -> Path:
    return (
        default_folder() / "models" if "MODEL_CACHE_DIR" not in settings.model_fields_set else settings.MODEL_CACHE_DIR
    )


async def _demo(
    stack: Stack, outcomes: Outcomes, settings: Settings, options: argparse.Namespace, console: Console
) -> int:
    world = RecordedWorld(outcomes)
    latency_s = np.array([world.models[model].latency_s for model in outcomes.models])
    utility = utilities(outcomes, latency_s, settings.bandit().weights)
    progress = Progress(np.full(len(outcomes), -1, dtype=np.int64))
    traffic = Traffic(
        outcomes,
        stack.plan.gateway_url,
        f"demo-{int(time.time())}",
        np.random.default_rng(options.seed).random(len(outcomes)) < options.feedback,
        concurrency=options.at_once,
        per_second=options.rate,
    )
    screen = Screen(console, outcomes, utility, progress)
    background = [asyncio.create_task(screen.follow()), asyncio.create_task(_watch(stack))]
    sending = asyncio.create_task(traffic.send(progress))
    try:
        await asyncio.wait([sending, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in (*background, sending):
            if task.done():
                task.result()
    finally:
        for task in (*background, sending):
            task.cancel()
        await asyncio.gather(*background, sending, return_exceptions=True)
    cost = await evaluation_cost(stack.plan.redis_url) if options.judge is not None else None
    result = await reconcile(stack.plan.redis_url, progress.rated)
    screen.final()
    console.print(result.line())
    if cost is not None:
        console.print(cost.line(progress.cost_usd))
    complete = progress.answered == len(outcomes) and progress.rated == traffic.rated.sum()
    return 0 if result.balanced and complete else 1


async def _watch(stack: Stack) -> None:
    """Poll the stack, which raises when a part ends or the user requests a stop."""
    while True:
        stack.poll()
        await asyncio.sleep(0.1)


class _StartLog:
    """Log callback that shows the embedder's lines only: distillation takes long at the first start."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, name: str, line: str) -> None:
        if name == "embedder":
            end = "\r" if line.endswith("\r") else "\n"
            self._console.print(f"  {name}: {line.rstrip()}", markup=False, end=end)

    def end(self) -> None:
        """Stop showing lines."""
        self._console = Console(quiet=True)


if __name__ == "__main__":
    sys.exit(main())
