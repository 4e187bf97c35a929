"""Command `make demo`: a separate stack whose simulated upstream replays recorded outcomes, with traffic."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from deploy.local.beside import default_folder
from deploy.local.demo.evaluation_cost import evaluation_cost
from deploy.local.demo.reconciliation import reconcile
from deploy.local.demo.screen import WIDTH, Screen
from deploy.local.demo.traffic import Progress, Traffic
from deploy.local.demo.utility import utilities
from deploy.local.interrupts import StopRequests
from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Interrupted, Stack
from deploy.local.terminal import dashboard_url
from deploy.simulator.judge import JUDGE
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes
from shared.command_names import as_typed
from shared.errors import DependencyError, SettingsError
from shared.settings import Settings, load_settings

KEPT = frozenset(
    (
        *("FEEDBACK_WEIGHT", "COST_WEIGHT", "EXPLORATION_RATE", "SIMILARITY_THRESHOLD"),
        *("MAX_SIMILAR_REQUESTS", "RECENCY_DAYS", "MIN_SIMILAR_REQUESTS", "MIN_CONFIDENCE_SCORE", "OPTIMISTIC_PRIOR"),
        *("EXPLORATION_BONUS", "MIN_REQUESTS_FOR_GLOBAL", "SAFE_START", "EMBEDDING_MODEL", "MODEL_CACHE_DIR"),
        *("EMBED_TIMEOUT_MS", "SEARCH_TIMEOUT_MS", "REDIS_TIMEOUT_MS", "LOG_LEVEL"),
    )
)
"""Settings of the user that apply to the demo. It sets all others, so that it touches no other stack."""

SIMULATED_USD = 1000.0
"""Budget of evaluations: simulated money."""

NO_JUDGE = "none"
NOTE = (
    "Quality and cost of each answer are recorded from real models. SIMULATED: the judge ({judge}), and how long "
    "answers take, which counts nothing here. {rated}"
)


def main(arguments: list[str] | None = None, at_end: Callable[[str], None] | None = None) -> int:
    """Run the demo; return the exit code, 0 when all that was sent was learned exactly once.

    `at_end` is called with the dashboard's address when all is learned, before the stack stops.
    """
    options = _options(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    requests = StopRequests()
    try:
        outcomes = load_outcomes(options.data)
        rng = np.random.default_rng(options.seed)
        chosen_rows = rng.permutation(len(outcomes))[: options.requests]
        settings = demo_settings(load_settings(), outcomes, judged=options.judge != NO_JUDGE)
        with tempfile.TemporaryDirectory(prefix="llm-router-demo-", ignore_cleanup_errors=True) as folder:
            replay = str(options.data.resolve()) if options.data else "example"
            simulation = Simulation(replay=replay, judge="exact" if options.judge == NO_JUDGE else options.judge)
            planner = Planner(
                settings, Path(folder), _models(settings), simulation, anywhere=True, terminal=sys.stdout.isatty()
            )
            start_log = _StartLog(console)
            with Stack(planner, show=start_log, stop_requests=requests) as stack:
                console.print(f"Starting a separate stack whose upstream replays {outcomes.name} ...")
                stack.start()
                start_log.end()
                console.print(f"Watch it learn: {dashboard_url(stack.plan)}")
                rated = f"{options.feedback:.0%} of the answers are rated." if options.feedback else "No user rates."
                console.print(NOTE.format(judge=options.judge, rated=rated), width=WIDTH)
                code = asyncio.run(_demo(stack, outcomes.take(chosen_rows), settings, options, console))
                if at_end is not None:
                    at_end(dashboard_url(stack.plan))
                return code
    except Interrupted:
        console.print("Stopped: not all prompts were sent.")
        return 130
    except (SettingsError, DependencyError, OSError, ValueError, KeyError) as error:
        console.print(f"demo: {error}", markup=False)
        return 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llm-router demo", description=as_typed(str(__doc__)))
    parser.add_argument("--data", type=Path, help="folder of recorded outcomes (default: the example of paretobandit)")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice and order of the prompts")
    parser.add_argument("--feedback", type=float, default=0.0, help="share of the answers that are rated, 0 to 1")
    parser.add_argument(
        "--judge",
        default="exact",
        help="simulated judge: `exact`, `noisy`, `biased`, ... (deploy/simulator/judge.py); `none`: no evaluations",
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
            "LATENCY_WEIGHT": 0.0,  # latency is not recorded
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
    utility = utilities(outcomes, settings.bandit().weights)
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
    except Interrupted:
        screen.final(await evaluation_cost(stack.plan.redis_url, wait_s=0.0))
        raise
    finally:
        for task in (*background, sending):
            task.cancel()
        await asyncio.gather(*background, sending, return_exceptions=True)
    spent = await evaluation_cost(stack.plan.redis_url)
    result = await reconcile(stack.plan.redis_url, progress.rated)
    screen.final(spent)
    if progress.rated or not result.balanced:
        console.print(result.line(), width=WIDTH)
    complete = progress.answered == len(outcomes) and progress.rated == traffic.rated.sum()
    return 0 if result.balanced and complete and not spent.waiting else 1


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
