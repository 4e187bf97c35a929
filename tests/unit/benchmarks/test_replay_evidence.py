"""Evidence beside ratings in the replay: a judge, a race, imported scores, public indices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.replays.benchmark_indices import benchmark_indices
from benchmarks.replays.evidence_table import HEAD, evidence_table
from benchmarks.replays.figures import gap_per_seed, row_of
from benchmarks.replays.judging import JUDGES
from benchmarks.replays.players import PRODUCT, product_player
from benchmarks.replays.runs import play_condition
from benchmarks.replays.streams import Condition, make_stream
from benchmarks.replays.summary import Cell
from benchmarks.replays.worlds import World
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.arms import Price

PROMPTS, REQUESTS = 300, 160
COSTS = (1e-2, 1e-4, 1e-3)


@pytest.fixture(scope="module")
def world() -> World:
    """Four tasks; the cheap model is the best."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((PROMPTS, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    outcomes = Outcomes(
        name="made-up",
        models=("m/dear", "m/good", "m/poor"),
        prices=tuple(Price(cost, cost) for cost in COSTS),
        prompts=tuple(f"prompt {i}" for i in range(PROMPTS)),
        tasks=tuple(f"task {i % 4}" for i in range(PROMPTS)),
        scores=(rng.random((PROMPTS, 3)) < [0.5, 0.9, 0.2]).astype(float),
        costs=np.tile(COSTS, (PROMPTS, 1)),
        prompt_tokens=np.full((PROMPTS, 3), 100),
        completion_tokens=np.full((PROMPTS, 3), 100),
    )
    return World(outcomes, vectors.astype(np.float32))


def right(world: World, condition: Condition) -> float:
    """Return the share of the last 100 requests that go to the best model."""
    stream = make_stream(world.outcomes, condition, 1)
    return float((product_player(world, stream, condition, 1).arms[-100:] == 1).mean())


def test_without_any_rating_a_race_finds_the_best_model(world: World) -> None:
    """And without it nothing is learned of quality."""
    assert right(world, Condition(requests=REQUESTS, feedback=0, judge="exact", race=True)) > 0.9
    assert right(world, Condition(requests=REQUESTS, feedback=0)) < 0.7


def test_what_happens_beside_the_users_path_is_paid(world: World) -> None:
    """Other models answer some prompts; a judge's call costs an answer of the median model."""
    condition = Condition(requests=REQUESTS, feedback=0, judge="exact", race=True)
    stream = make_stream(world.outcomes, condition, 1)
    played = product_player(world, stream, condition, 1)
    assert played.beside is not None
    assert played.beside.shadows[:100].sum() > 0
    assert (played.beside.shadows < sum(COSTS)).all(), "the model that serves is not asked again"
    assert set(played.beside.judge.round(9).tolist()) <= {0.0, 1e-3}
    assert (played.beside.judge[played.beside.shadows > 0] > 0).all()
    alone = product_player(world, stream, Condition(requests=REQUESTS, feedback=0, judge="exact"), 1)
    assert alone.beside is not None
    assert not alone.beside.shadows.any()
    assert 0 < (alone.beside.judge > 0).mean() < 0.6


@pytest.mark.parametrize("delay", [0, 100])
def test_a_race_of_unknown_models_costs_a_part_of_the_bill(world: World, delay: int) -> None:
    """Also where verdicts come late, and one of the models costs a hundred times as much as the best one."""
    dear = world.outcomes.costs * [1, 1, 100]
    priced = replace(world, outcomes=replace(world.outcomes, costs=dear))
    condition = Condition(requests=REQUESTS, feedback=0, judge="exact", race=True, cost_weight=0.3, delay=delay)
    stream = make_stream(priced.outcomes, condition, 1)
    played = product_player(priced, stream, condition, 1)
    assert played.beside is not None
    bill = stream.costs[np.arange(REQUESTS), played.arms].sum()
    assert 0 < played.beside.shadows.sum() + played.beside.judge.sum() < 0.25 * bill
    assert (played.arms[-60:] == 1).mean() > 0.6


def test_imported_scores_are_known_before_the_first_request(world: World) -> None:
    """The first hundred requests already go to the best model."""
    condition = Condition(requests=100, feedback=0, imported=100)
    assert right(world, condition) > 0.8
    assert right(world, Condition(requests=100, feedback=0)) < 0.6
    stream = make_stream(world.outcomes, condition, 1)
    assert not np.intersect1d(stream.rows, stream.imported).size


def test_imported_scores_of_another_domain_share_no_task_with_the_stream(world: World) -> None:
    """Half of the tasks are imported, the other half is played."""
    stream = make_stream(world.outcomes, Condition(requests=PROMPTS, imported=100, imported_from="other"), 1)
    tasks = np.array(world.outcomes.tasks)
    assert len(stream.imported) == 100
    assert len(stream.rows) == PROMPTS // 2, "the same for every seed"
    assert {*tasks[stream.rows]} | {*tasks[stream.imported]} == {*tasks}
    assert not {*tasks[stream.rows]} & {*tasks[stream.imported]}


def test_public_indices_follow_the_recorded_scores_or_turn_them_round(world: World) -> None:
    """The best model has the highest index, inverted the lowest."""
    noisy, inverted = (np.array(benchmark_indices(world.outcomes, prior, 1), float) for prior in ("noisy", "inverted"))
    assert np.argmax(noisy) == np.argmin(inverted) == 1
    assert benchmark_indices(world.outcomes, "none", 1) == [None] * 3


@pytest.mark.parametrize(
    ("judge", "special", "another"),
    [("exact", 0.4, 0.4), ("biased", 0.5, 0.4), ("always-1", 1.0, 1.0), ("inverted", 0.6, 0.4)],
)
def test_judges_do_what_their_names_say(judge: str, special: float, another: float) -> None:
    """The score that each gives an answer of the special model, and of any other."""
    rng = np.random.default_rng(1)
    assert JUDGES[judge](0.4, 0, rng) == pytest.approx(special)
    assert JUDGES[judge](0.4, 2, rng) == pytest.approx(another)


def test_noisy_judges_are_right_on_average() -> None:
    """With a standard deviation of .25; the special model's scores are .1 higher where the judge is biased, too."""
    rng = np.random.default_rng(1)
    for judge, special in (("noisy", 0.5), ("both", 0.6)):
        drawn = np.array([[JUDGES[judge](0.5, arm, rng) for arm in (0, 1)] for _ in range(4000)])
        assert drawn.mean(axis=0) == pytest.approx([special, 0.5], abs=0.02)
        assert drawn.std(axis=0) == pytest.approx([0.25, 0.25], abs=0.02)


def test_the_table_says_what_evidence_brings_and_costs(world: World) -> None:
    """Net is the difference to the best fixed model less the cost of shadows and judge."""
    condition = Condition(requests=REQUESTS, feedback=0, cost_weight=0.3, judge="exact", race=True)
    runs = play_condition(world, condition, {PRODUCT: product_player}, [0, 1], lambda: None)
    row = row_of(PRODUCT, runs[PRODUCT], None, None)
    cell = Cell("made-up", condition, {PRODUCT: row}, gaps={PRODUCT: gap_per_seed(runs[PRODUCT])})
    line = evidence_table([cell], PRODUCT).splitlines()[-1]
    fields = dict(zip(HEAD, (field.strip() for field in line[1:-1].split("|")), strict=True))
    assert (fields["rated"], fields["judge"], fields["race"]) == ("0%", "exact", "on")
    beside = np.mean([sum(run.beside or ()) for run in runs[PRODUCT]])
    assert float(fields["net"]) == pytest.approx(row.against_best - 300 * beside, abs=0.1)
    assert row.shadows is not None
    assert fields["v best fixed"].startswith(f"{row.against_best:+.1f} ± {row.interval:.1f}")
    assert fields["shadows"] == f"{row.shadows:.1%}"
