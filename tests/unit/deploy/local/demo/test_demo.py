"""The demo's arithmetic: what is compared is compared on the same prompts."""

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from deploy.local.demo.__main__ import demo_settings
from deploy.local.demo.evaluation_cost import EvaluationCost
from deploy.local.demo.prompt_kinds import kind_lines
from deploy.local.demo.reconciliation import Reconciliation
from deploy.local.demo.screen import Screen
from deploy.local.demo.traffic import Progress
from deploy.local.demo.utility import compare, shares, utilities
from deploy.local.demo.verdict import verdict
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes
from shared.bandit.policy import DEFAULT_WEIGHTS
from shared.settings import Settings

OUTCOMES = load_outcomes(None).take(range(200))
VALUE = utilities(OUTCOMES, DEFAULT_WEIGHTS)
NAMES = [model.rpartition("/")[2] for model in OUTCOMES.models]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_router_that_always_chooses_one_model_is_that_model(column: int) -> None:
    """The router's line equals the fixed model's line when it does the same; random is the mean of all models."""
    router, *fixed, random = compare(OUTCOMES, VALUE, np.full(200, column))
    (same,) = [line for line in fixed if line.column == column]
    assert same.name == NAMES[column]
    assert (router.quality, router.cost_usd, router.utility) == pytest.approx(
        (same.quality, same.cost_usd, same.utility)
    )
    assert random.utility == pytest.approx(np.mean([line.utility for line in fixed]))
    assert [line.utility for line in fixed] == sorted((line.utility for line in fixed), reverse=True)


def test_only_answered_prompts_are_compared() -> None:
    """Prompts without an answer count for no policy; before the first answer there is nothing to compare."""
    chosen = np.full(200, -1)
    assert compare(OUTCOMES, VALUE, chosen) == []
    chosen[7] = 1
    lines = compare(OUTCOMES, VALUE, chosen)
    assert lines[0].quality == OUTCOMES.scores[7, 1]
    assert lines[-1].quality == pytest.approx(OUTCOMES.scores[7].mean())
    assert shares(chosen, 3).tolist() == [0.0, 1.0, 0.0]


def test_the_router_pays_for_its_evaluations() -> None:
    """Their cost is in its cost and in its utility, on the scale of the answers' costs."""
    chosen = np.zeros(200, dtype=np.int64)
    free, paid = (compare(OUTCOMES, VALUE, chosen, usd)[0] for usd in (0.0, 200 * VALUE.dearest))
    assert paid.cost_usd == pytest.approx(free.cost_usd + VALUE.dearest)
    assert paid.utility == pytest.approx(free.utility + DEFAULT_WEIGHTS.cost)


def test_dearer_and_worse_are_each_worth_less() -> None:
    """Utility falls with cost and rises with quality, as the weights say."""
    dearer, better = OUTCOMES.take(range(200)), OUTCOMES.take(range(200))
    dearer.costs[:, 0] += dearer.costs.mean() / 100
    better.scores[:, 0] += 0.01
    assert (utilities(dearer, DEFAULT_WEIGHTS).utility[:, 0] < VALUE.utility[:, 0]).all()
    assert (utilities(better, DEFAULT_WEIGHTS).utility[:, 0] > VALUE.utility[:, 0]).all()


def judged(chosen: NDArray[np.int64], spent_usd: float = 0.0, outcomes: Outcomes = OUTCOMES) -> str:
    """Return the verdict on these choices."""
    value = utilities(outcomes, DEFAULT_WEIGHTS)
    return verdict(outcomes, value, chosen, list(range(len(chosen))), EvaluationCost(spent_usd=spent_usd))[-1]


def test_the_verdict_says_what_the_choices_were_worth() -> None:
    """Better than every model, level with the best, worse; and evaluations may eat up a gain."""
    best = compare(OUTCOMES, VALUE, np.zeros(200, dtype=np.int64))[1].column
    assert best is not None
    ideal = VALUE.utility.argmax(axis=1)
    assert judged(ideal).startswith(
        "Verdict: a gain on this data, over every single model. The router is better than 3"
    )
    assert judged(ideal, spent_usd=200 * VALUE.dearest).startswith("Verdict: not paid back yet")
    assert judged(np.full(200, best)).startswith(f"Verdict: no gain over always {NAMES[best]} that could be told")
    assert "would have been better" in judged(VALUE.utility.argmin(axis=1))
    late = np.where(np.arange(200) < 100, VALUE.utility.argmin(axis=1), best)
    assert f"Finding {NAMES[best]} has cost more" in judged(late)


def test_without_answers_there_is_no_verdict() -> None:
    """As after an immediate Ctrl-C; one answer is too few for an interval, and still has one."""
    nothing = verdict(OUTCOMES, VALUE, np.full(200, -1), [], EvaluationCost())
    assert nothing == ["Verdict: none, because no request was answered."]
    assert judged(np.zeros(1, dtype=np.int64), outcomes=OUTCOMES.take([0])).startswith("Verdict: no gain")


def test_kinds_of_prompt_are_tasks_and_show_the_later_choices() -> None:
    """Subtasks count for their task; the best model is that of the kind, whatever was chosen."""
    chosen, order = np.zeros(200, dtype=np.int64), list(range(200))
    chosen[100:] = 2
    lines = kind_lines(OUTCOMES, VALUE.utility, chosen, order, 3)
    assert [line.prompts for line in lines] == sorted((line.prompts for line in lines), reverse=True)
    assert not any("/" in line.name for line in lines)
    assert {line.favourite for line in lines} == {2}
    mine = [task.partition("/")[0] == lines[0].name for task in OUTCOMES.tasks]
    assert lines[0].prompts == sum(mine)
    assert lines[0].best == VALUE.utility[mine].mean(axis=0).argmax()


@pytest.mark.parametrize(
    ("account", "balanced"),
    [
        (Reconciliation(sent=5, applied=5, waiting=0, dead=0), True),
        (Reconciliation(sent=5, applied=4, waiting=1, dead=0), False),
        (Reconciliation(sent=5, applied=6, waiting=0, dead=0), False),
        (Reconciliation(sent=5, applied=5, waiting=0, dead=1), False),
    ],
)
def test_an_account_balances_only_when_nothing_is_lost_or_doubled(account: Reconciliation, *, balanced: bool) -> None:
    """Missing, doubled, waiting and dead ratings all show."""
    assert account.balanced == balanced
    assert ("accounted for" in account.line()) == balanced


def test_the_cost_of_evaluations_is_compared_with_that_of_serving() -> None:
    """What was not finished in time shows."""
    line = EvaluationCost(120, 0, 0.05, {"a": 70, "b": 15}).line(served_usd=0.2)
    assert line.startswith("Evaluating: the judge scored 120 requests, with 85 answers of other models")
    assert line.endswith("for 0.0500 USD, 25% of what serving cost (0.2000 USD).")
    assert "3 NOT FINISHED" in EvaluationCost(120, 3, 0.05, {}).line(served_usd=0.0)


def test_the_demo_has_no_judge_but_the_simulated_one_and_no_invented_latency() -> None:
    """Whatever the user has set: the money of a judge is real, and latency is not recorded."""
    own = Settings(JUDGE_MODEL="openai/gpt-4o", LATENCY_WEIGHT=0.5)
    assert demo_settings(own, OUTCOMES).JUDGE_MODEL is None
    judged = demo_settings(own, OUTCOMES, judged=True)
    assert (judged.JUDGE_MODEL, judged.LATENCY_WEIGHT) == ("simulated/judge", 0.0)


def test_the_screen_fits_into_80_columns() -> None:
    """Without a terminal, and with long names of models and kinds."""
    console = Console(highlight=False, width=80, file=io.StringIO())
    names = tuple(f"provider/a-model-with-a-really-long-name-{number}" for number in range(3))
    outcomes = replace(OUTCOMES, models=names)
    progress = Progress(np.zeros(200, dtype=np.int64), list(range(200)))
    Screen(console, outcomes, VALUE, progress).final(EvaluationCost(10, 0, 0.01, {names[0]: 3}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for part in ("the router", "at random", "By kind of prompt", "Exploring:", "Evaluating:", "Verdict:"):
        assert part in text
