"""Command `evaluate-models`: all models answer prompts of a file, the judge scores them, and the scores are imported.

Scores are appended to a file as they come, in the form of `import`: a run that was interrupted goes on where it was,
and no prompt is paid for twice.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import orjson

from services.learner.commands.score_file import BadScoreFile, Prompt, read_scores
from services.learner.evaluating.evaluator import Evaluator
from services.learner.evaluating.model_calls import ASSUMED_TOKENS, CHARS_PER_TOKEN
from shared.bandit.arms import ArmId, Price
from shared.bandit.free_arms import FREE, filled
from shared.errors import RouterError
from shared.schemas.evaluation import Candidate, Evaluation

AT_THE_SAME_TIME = 8
FAILURES_IN_A_ROW = 5
"""So many prompts without a score end the run: the judge or the account has a problem that further calls repeat."""

VERDICT_TOKENS = 20
"""Of the judge's verdict, for each answer."""

Progress = Callable[[int, int], None]


class EvaluationStopped(RouterError):
    """The run was ended before all prompts were done."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost by model, and of the judge, in USD; None: the price is unknown."""

    models: Mapping[ArmId, float | None]
    judge: float | None

    @property
    def known_usd(self) -> float:
        """The sum of what is known."""
        return sum(usd for usd in (*self.models.values(), self.judge) if usd is not None)

    def lines(self) -> Iterator[str]:
        """Yield one line for each model, one for the judge, and the sum."""
        for name, usd in (*self.models.items(), ("the judge", self.judge)):
            yield f"{'unknown' if usd is None else f'{usd:.4f} USD':>16}  {name}"
        yield f"{self.known_usd:12.4f} USD  in all, with {ASSUMED_TOKENS} tokens an answer"


@dataclass(slots=True)
class Evaluated:
    """Counts: prompts with scores, what they have cost, and calls without a result by model or `judge` and error."""

    prompts: int = 0
    spent_usd: float = 0.0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: int = 0


async def models_of(names: Sequence[str], evaluator: Evaluator) -> list[ArmId]:
    """Return the models that names of LLM_MODELS mean; `free` stands for free models of the upstream's list."""
    models = evaluator.caller.models
    listed = (await models.models()).values()
    meant = [filled((), listed) if name == FREE else (await models.named(name),) for name in names]
    return list(dict.fromkeys(arm for arms in meant for arm in arms))


def unanswered(prompts: Sequence[Prompt], out: Path, *, now: float) -> list[Prompt]:
    """Return the prompts that have no scores in `out` yet. Raises BadScoreFile."""
    done = {(line.system, line.prompt) for line in read_scores(out, now=now)} if out.exists() else set()
    return [each for each in dict.fromkeys(prompts) if (each.system, each.prompt) not in done]


async def estimate(prompts: Sequence[Prompt], arms: Sequence[ArmId], evaluator: Evaluator) -> Estimate:
    """Estimate what asking `arms` and the judge costs."""
    models, number = evaluator.caller.models, len(prompts)
    asked = sum(len(each.system) + len(each.prompt) for each in prompts) / CHARS_PER_TOKEN
    answers = ASSUMED_TOKENS * len(arms)
    judged = asked + number * (answers + len(evaluator.rubric.text) / CHARS_PER_TOKEN)
    prices = {arm: await models.price(arm) for arm in arms}
    judge = await models.price(await models.named(evaluator.judge))
    return Estimate(
        {arm: _cost_usd(price, asked, number * ASSUMED_TOKENS) for arm, price in prices.items()},
        _cost_usd(judge, judged, number * VERDICT_TOKENS * len(arms)),
    )


def _cost_usd(price: Price | None, prompt_tokens: float, completion_tokens: float) -> float | None:
    return None if price is None else price.cost_usd(prompt_tokens, completion_tokens)


async def evaluate_models(
    prompts: Sequence[Prompt], arms: Sequence[ArmId], evaluator: Evaluator, out: Path, progress: Progress
) -> Evaluated:
    """Ask `arms` and the judge about each prompt; append the scores to `out`.

    Raises EvaluationStopped, and BadScoreFile where `out` cannot be written.
    """
    done, places, finished = Evaluated(), asyncio.Semaphore(AT_THE_SAME_TIME), 0
    with _opened(out) as file:

        async def one(number: int, prompt: Prompt) -> None:
            nonlocal finished
            async with places:
                if done.failures < FAILURES_IN_A_ROW:
                    result = await evaluator.compare(f"evaluate-models-{number}", {"messages": prompt.messages()}, arms)
                    _note(result, prompt, file, done)
                    finished += 1
                    progress(finished, len(prompts))

        progress(0, len(prompts))
        async with asyncio.TaskGroup() as tasks:
            for number, prompt in enumerate(prompts, 1):
                tasks.create_task(one(number, prompt))
    if done.failures >= FAILURES_IN_A_ROW:
        raise EvaluationStopped(
            f"{done.failures} prompts in a row got no score ({_worst(done)}); {done.prompts:,} are done and stay in "
            f"{out}: repeat the command to go on"
        )
    return done


def _opened(out: Path) -> TextIO:
    try:
        return out.open("a", encoding="utf-8")
    except OSError as error:
        raise BadScoreFile(f"{out}: {error.strerror}; name another file with --out") from error


def _note(result: Evaluation, prompt: Prompt, file: TextIO, done: Evaluated) -> None:
    done.spent_usd += result.spent_usd
    scored = [_line(prompt, one, result) for one in result.candidates if one.score is not None]
    done.errors.update((one.arm, one.error) for one in result.candidates if one.error is not None)
    if result.error is not None:
        done.errors["judge", result.error] += 1
    done.prompts += bool(scored)
    done.failures = 0 if scored else done.failures + 1
    file.write("".join(scored))
    file.flush()


def _line(prompt: Prompt, one: Candidate, result: Evaluation) -> str:
    line = {
        "prompt": prompt.prompt,
        "system": prompt.system,
        "model": one.arm,
        "score": one.score,
        "cost_usd": one.cost_usd,
        "latency_s": one.latency_s,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "time": result.evaluated_at,
    }
    return orjson.dumps(line).decode() + "\n"


def _worst(done: Evaluated) -> str:
    return ", ".join(f"{name}: {error}" for (name, error), _ in done.errors.most_common(2))


def confirmed(question: str) -> bool:
    """Ask on the terminal; False where nobody can answer."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
