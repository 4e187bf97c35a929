"""Command line of the learner: `python -m services.learner [command]`; without a command it learns until stopped."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from services.learner.adapters import (
    Adapters,
    import_history,
    open_adapters,
    open_history,
    open_import_stores,
    open_upstreams,
)
from services.learner.app import run
from services.learner.commands import dead_letters
from services.learner.commands.evaluate_models import (
    EvaluationStopped,
    confirmed,
    estimate,
    evaluate_models,
    models_of,
    unanswered,
)
from services.learner.commands.export import export_to
from services.learner.commands.forget import Forgotten, Selection, forget, owner_of
from services.learner.commands.forget_imports import forget_imports
from services.learner.commands.import_scores import import_scores
from services.learner.commands.progress_bar import progress_bar
from services.learner.commands.rebuild import RebuildRefused, RebuildStores, rebuild
from services.learner.commands.score_file import BadScoreFile, read_prompts, read_scores
from services.learner.evaluating.evaluator import make_evaluator
from services.learner.process.heartbeat import TTL_S as HEARTBEAT_TTL_S
from shared import interpreter
from shared.bandit.sources import Source
from shared.command_names import as_typed
from shared.dead_letters import requeue
from shared.errors import DependencyError, SettingsError
from shared.logs import set_up_logging
from shared.metrics import LearnerMetrics, new_registry
from shared.redaction import redact_text
from shared.settings import Settings, load_settings
from shared.standard_streams import protect

COMMANDS = ("run", "dead", "requeue", "forget", "rebuild", "export", "import", "evaluate-models")
TAKE_FILES = ("import", "evaluate-models")
IMPORTED = (Source.EVAL, Source.JUDGE)
COMMAND_TIMEOUT_S = 60.0
"""Time-out of PostgreSQL in commands: reading a page of the history may take longer than writing a batch."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 1 when a dependency failed, 2 when settings are wrong."""
    protect(redact_text)
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m services.learner"), description="Learn from outcomes and ratings."
    )
    parser.add_argument("command", nargs="?", default="run", choices=COMMANDS)
    parser.add_argument(
        "file", nargs="?", type=Path, help="import: JSON lines of prompt, model and score; evaluate-models: of prompts"
    )
    parser.add_argument("--limit", type=int, default=100, help="most dead letters to list")
    parser.add_argument("--key", help="forget: requests of this API key, or of the owner with this hash")
    parser.add_argument("--arm", help="forget: requests answered by this model, and imported scores of it")
    parser.add_argument(
        "--source",
        type=Source,
        choices=list(Source),
        help="forget: only the scores of this source; import: eval, for those of a test set (the default), or judge",
    )
    parser.add_argument(
        "--since", type=_moment, help="forget, export: only requests since this time, as in 2026-11-23T08:00+01:00"
    )
    parser.add_argument("--replace", action="store_true", help="rebuild: first delete what Redis and Qdrant hold")
    parser.add_argument(
        "--out", type=Path, help="export: the file to write; default: standard output; evaluate-models: of scores"
    )
    parser.add_argument("--vectors", action="store_true", help="export: include vectors")
    parser.add_argument("--weight", type=_weight, default=0.5, help="import: weight of a score, 0 to 1; default: 0.5")
    parser.add_argument("--models", type=_names, help="evaluate-models: names with commas; default: LLM_MODELS")
    parser.add_argument("--yes", action="store_true", help="evaluate-models: do not ask whether the cost is fine")
    options = parser.parse_args(arguments)
    if options.command == "forget" and not (options.key or options.arm or options.since or options.source):
        parser.error("forget needs --key, --arm, --since or --source")
    if options.command == "import" and options.source not in (None, *IMPORTED):
        parser.error(f"import takes --source {' or '.join(IMPORTED)}")
    if (options.command in TAKE_FILES) != (options.file is not None):
        parser.error(f"{options.command} {'needs a' if options.file is None else 'takes no'} file")
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
    except (DependencyError, RebuildRefused, BadScoreFile, EvaluationStopped) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _weight(text: str) -> float:
    weight = float(text)
    if not 0.001 <= weight <= 1:
        raise argparse.ArgumentTypeError("must be between 0.001 and 1")
    return weight


async def _command(settings: Settings, options: argparse.Namespace) -> None:
    if options.command == "export":
        await _export(settings, options)
        return
    async with open_adapters(settings) as adapters:
        if options.command == "forget":
            await _forget(adapters, options)
        elif options.command == "rebuild":
            await _rebuild(adapters, wipe=options.replace)
        elif options.command == "evaluate-models":
            await _evaluate_models(adapters, options)
        elif options.command == "import":
            await _import(adapters, options)
        elif options.command == "requeue":
            print(f"{await requeue(adapters.queue)} events moved back to the stream")
        else:
            lines = await dead_letters.listing(adapters.queue, options.limit)
            print("\n".join(lines) if lines else "no dead letters")


async def _export(settings: Settings, options: argparse.Namespace) -> None:
    async with open_history(settings, timeout_s=COMMAND_TIMEOUT_S) as history:
        await history.prepare()
        number = await export_to(
            options.out, history, progress_bar("exporting"), since=options.since or 0.0, vectors=options.vectors
        )
    print(f"{number:,} requests exported", file=sys.stderr)


async def _rebuild(adapters: Adapters, *, wipe: bool) -> None:
    async with open_history(adapters.settings, timeout_s=COMMAND_TIMEOUT_S) as history:
        stores = RebuildStores(
            history=history,
            history_writer=adapters.history_writer(history, LearnerMetrics(new_registry("learner"))),
            outbox=adapters.outbox,
            restorer=adapters.restorer,
            index=adapters.index,
            heartbeats=adapters.heartbeats,
            clock=adapters.clock,
            imports=adapters.imports,
            import_history=import_history(history),
        )
        done = await rebuild(
            stores,
            progress_bar("rebuilding"),
            recency_days=adapters.settings.RECENCY_DAYS,
            lifetime_s=adapters.request_lifetime_s,
            wipe=wipe,
            learner_timeout_s=HEARTBEAT_TTL_S + 2.0,
        )
    models = len({arm for arm, _ in done.days})
    unlearned = f"; {done.unlearned:,} outcomes or ratings could not be learned from" if done.unlearned else ""
    imported = f" and {done.imports:,} imported prompts" if done.imports else ""
    found = f"learned state of {models} models, {done.points:,} points{unlearned}"
    print(f"{done.requests:,} requests{imported}: {found}")


async def _import(adapters: Adapters, options: argparse.Namespace) -> None:
    lines = read_scores(options.file, now=adapters.clock.now())
    async with open_import_stores(adapters, LearnerMetrics(new_registry("learner"))) as stores:
        done = await import_scores(
            lines,
            stores,
            progress_bar("importing"),
            source=options.source or Source.EVAL,
            weight=options.weight,
            recency_days=adapters.settings.RECENCY_DAYS,
        )
    print(
        f"{done.prompts:,} prompts with {done.scores.total():,} scores of {len(done.scores)} models imported; "
        f"{done.known:,} were known, {done.too_old:,} are too old to count"
    )
    for arm, number in sorted(done.scores.items()):
        print(f"{number:8,}  {arm}")


async def _evaluate_models(adapters: Adapters, options: argparse.Namespace) -> None:
    settings, now = adapters.settings, adapters.clock.now()
    if settings.JUDGE_MODEL is None:
        raise SettingsError("JUDGE_MODEL is not set: evaluate-models needs a model that scores the answers")
    out = options.out or options.file.with_suffix(".scores.jsonl")
    prompts = unanswered(read_prompts(options.file), out, now=now)
    async with open_upstreams(settings) as upstreams:
        evaluator = make_evaluator(upstreams, settings.JUDGE_MODEL, settings, adapters.clock)
        arms = await models_of(options.models or upstreams.listed or settings.LLM_MODELS, evaluator)
        print(f"{len(prompts):,} prompts without scores in {out}, {len(arms)} models")
        if prompts:
            print("\n".join((await estimate(prompts, arms, evaluator)).lines()))
            if not (options.yes or confirmed("Spend that?")):
                print("nothing was asked; --yes goes on without a question")
                return
            done = await evaluate_models(prompts, arms, evaluator, out, progress_bar("evaluating"))
            print(f"{done.prompts:,} prompts scored for {done.spent_usd:.4f} USD")
            for (name, error), number in sorted(done.errors.items()):
                print(f"{number:8,}  {name}: {error}")
    options.file, options.source = out, Source.JUDGE
    await _import(adapters, options)


async def _forget(adapters: Adapters, options: argparse.Namespace) -> None:
    owner = owner_of(options.key) if options.key else None
    selection = Selection(owner=owner, arm=options.arm, since=options.since or 0.0, source=options.source)
    shown = sys.stderr.isatty()

    def progress(done: Forgotten) -> None:
        if shown:
            print(f"\r{done.requests} requests", end="", file=sys.stderr, flush=True)

    done = await forget(selection, adapters.log, adapters.posteriors, progress)
    if shown:
        print(file=sys.stderr)
    imports, scores = [own_id async for some in adapters.imports.all_ids() for own_id in some], 0
    if imports and owner is None:
        async with open_import_stores(adapters, LearnerMetrics(new_registry("learner"))) as stores:
            scores = await forget_imports(selection, imports, stores, progress_bar("imported prompts"))
    removed = f"{done.ratings} ratings, {done.outcomes} outcomes and {done.evaluations} evaluations"
    print(f"{done.requests} requests: {removed} removed from the learned state")
    if imports:
        print(f"{len(imports)} imported prompts: {scores} scores removed from the learned state")


if __name__ == "__main__":
    sys.exit(main())
