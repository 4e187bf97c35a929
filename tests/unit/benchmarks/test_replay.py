"""The offline replay: fair to every player, and right about what it prints."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import replay
from benchmarks.replay import rows_of
from benchmarks.replays.ablations import ABLATIONS, TOLD_TOPICS
from benchmarks.replays.figures import half_interval
from benchmarks.replays.players import FIXED, PLAYERS, POOLED, PRODUCT, players_of
from benchmarks.replays.runs import play_condition, play_conditions
from benchmarks.replays.streams import STREAMS, Condition, make_stream
from benchmarks.replays.summary import Cell, references_summary, summary
from benchmarks.replays.worlds import World
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.arms import Price
from tests.support.values import replace

ARMS, PROMPTS = 3, 240


@pytest.fixture
def world() -> World:
    """Two kinds of prompt; one arm is good and dear, one bad and cheap, one good at one kind."""
    rng = np.random.default_rng(5)
    kind = np.arange(PROMPTS) % 2
    chances = np.stack((np.full(PROMPTS, 0.9), np.full(PROMPTS, 0.3), np.where(kind == 0, 0.95, 0.2)), axis=1)
    vectors = rng.standard_normal((PROMPTS, 16)) * 0.1
    vectors[np.arange(PROMPTS), kind] += 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    outcomes = Outcomes(
        name="made-up",
        models=("m/dear", "m/cheap", "m/special"),
        prices=(Price(1e-5, 1e-5), Price(1e-7, 1e-7), None),
        prompts=tuple(f"prompt {i}" for i in range(PROMPTS)),
        tasks=tuple(f"task {k}" for k in kind),
        scores=(rng.random((PROMPTS, ARMS)) < chances).astype(float),
        costs=np.tile([1e-2, 1e-4, 1e-3], (PROMPTS, 1)),
        prompt_tokens=np.full((PROMPTS, ARMS), 100),
        completion_tokens=np.full((PROMPTS, ARMS), 100),
    )
    return World(outcomes, vectors.astype(np.float32))


@pytest.mark.parametrize("kind", STREAMS)
def test_the_same_seed_gives_every_player_the_same_stream(world: World, kind: str) -> None:
    """Requests, scores and ratings are paired; another seed gives others."""
    condition = Condition(kind, 100, feedback=0.5, cost_weight=0.1, block=30, mixed=40)
    one, same, other = (make_stream(world.outcomes, condition, seed) for seed in (1, 1, 2))
    assert (one.rows == same.rows).all()
    assert (one.scores == same.scores).all()
    assert (one.rated == same.rated).all()
    assert (one.rows != other.rows).any()
    assert 20 < one.rated.sum() < 80


def test_streams_are_what_they_are_called(world: World) -> None:
    """Blocks are contiguous, the favourite drops or appears at half time, few prompts come again and again."""
    blocked, calm, drift, new, again = (
        make_stream(world.outcomes, Condition(kind, 200), 3)
        for kind in ("blocked", "shuffled", "drift", "new-arm", "repeated")
    )
    tasks = [world.outcomes.tasks[row] for row in blocked.rows]
    assert sum(a != b for a, b in pairwise(tasks)) == 1
    favourite = int(calm.scores.mean(axis=0).argmax())
    assert (drift.scores[:100] == calm.scores[:100]).all()
    lost = calm.scores[100:].mean(axis=0) - drift.scores[100:].mean(axis=0)
    assert 0.1 < lost[favourite] < 0.3
    assert np.delete(lost, favourite) == pytest.approx(0)
    assert not new.eligible[:100, favourite].any()
    assert new.eligible[100:].all()
    assert len(set(again.rows.tolist())) <= 150


def test_every_player_plays_and_best_fixed_is_best_in_hindsight(world: World) -> None:
    """No fixed arm beats it, full information beats chance, and the product's propensities are calibrated."""
    players = players_of(PLAYERS, world.outcomes)
    runs = play_condition(world, Condition(requests=200, cost_weight=0.1), players, range(2), lambda: None)
    rows = {row.player: row for row in rows_of(runs)}
    fixed = [row for name, row in rows.items() if name.startswith("always ")]
    assert len(fixed) == ARMS
    assert max(row.against_best for row in fixed) <= 1e-9
    assert rows["random"].against_best < rows["knn-full-information"].against_best
    calibration = rows[PRODUCT].calibration
    assert calibration is not None
    assert calibration < 0.1
    assert rows[POOLED].against_pooled == pytest.approx(0)
    assert rows["linucb"].calibration is None


@pytest.mark.parametrize("kind", STREAMS)
def test_the_product_survives_every_stream(world: World, kind: str) -> None:
    """New arms, drifts, delays and missing ratings: it only ever calls eligible arms."""
    condition = Condition(kind, 200, feedback=0.3, cost_weight=0.3, delay=20, block=60, mixed=80)
    runs = play_condition(world, condition, players_of([PRODUCT], world.outcomes), [0], lambda: None)
    stream = make_stream(world.outcomes, condition, 0)
    assert stream.eligible[np.arange(200), runs[PRODUCT][0].arms].all()


def test_a_replay_can_be_repeated(world: World) -> None:
    """The same seed gives the same choices."""
    players = players_of([PRODUCT], world.outcomes)
    first, second = (
        play_condition(world, Condition(requests=120), players, [4], lambda: None)[PRODUCT][0] for _ in range(2)
    )
    assert (first.arms == second.arms).all()


def test_processes_play_the_same_as_one(world: World) -> None:
    """Seeds that are played side by side come back in order, with the same choices."""
    conditions = [Condition(requests=60), Condition(requests=60, cost_weight=0.3)]
    names = ["random", "linucb"]
    one, two = (
        list(play_conditions(world, conditions, names, seeds=3, jobs=jobs, tick=lambda: None)) for jobs in (1, 2)
    )
    for (condition, expected), (same, runs) in zip(one, two, strict=True):
        assert condition == same
        assert list(runs) == names
        for name in names:
            assert [run.arms.tolist() for run in runs[name]] == [run.arms.tolist() for run in expected[name]]


def test_the_command_prints_a_table_and_writes_json(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is printed can be read by machines as well."""
    monkeypatch.setattr(replay, "load_world", lambda *_: world)
    arguments = f"--requests 60 --seeds 2 --cost-weight 0.1 --policy {PRODUCT},{FIXED} --out {tmp_path}".split()
    assert replay.main(arguments) == 0
    assert "always m/dear" in capsys.readouterr().out
    (condition,) = json.loads((tmp_path / "replay.json").read_text())["conditions"]
    assert condition["cost_weight"] == 0.1
    assert condition["rows"][0]["player"] == PRODUCT
    runs = [run for run in condition["runs"] if run["player"] == PRODUCT]
    assert [run["seed"] for run in runs] == [0, 1]
    assert np.mean([run["utility"] for run in runs]) == pytest.approx(condition["rows"][0]["utility"])


def test_the_command_prints_figures_by_topic(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For streams by topic: shares of right choices, and for the topic whose best model falls its own."""
    monkeypatch.setattr(replay, "load_world", lambda *_: world)
    common = f"--block 60 --mixed 60 --requests 120 --seeds 2 --cost-weight 0 --out {tmp_path}"
    arguments = (
        f"--stream topics,topic-drift,shuffled --policy {PRODUCT},linucb,topic-full-information {common}".split()
    )
    assert replay.main(arguments) == 0
    text = capsys.readouterr().out
    assert text.count("right choices by topic") == 2
    assert text.count("topic whose best model falls") == 1
    assert text.count("product - linucb: ") == 3
    assert "v linucb: 3 cells" in text


def test_a_world_that_does_not_allow_a_stream_is_refused_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command says what is missing, without a traceback."""
    monkeypatch.setattr(replay, "load_world", lambda *_: world)
    assert replay.main(["--stream", "topics", "--out", str(tmp_path)]) == 1
    assert "needs two tasks" in capsys.readouterr().err
    monkeypatch.undo()
    assert replay.main(["--system-prompts", "topic"]) == 1
    assert "made-up" in capsys.readouterr().err


def test_an_unknown_player_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names what is allowed."""
    with pytest.raises(SystemExit):
        replay.main(["--policy", "oracle"])
    assert "linucb" in capsys.readouterr().err


def test_intervals_shrink_with_seeds() -> None:
    """Twice four equal samples give a narrower interval than four."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert half_interval(np.tile(values, 4)) < half_interval(values)
    assert np.isnan(half_interval(values[:1]))


def test_each_ablation_takes_something_away(world: World) -> None:
    """Without a part the policy plays on, and on the stream where that part matters it plays otherwise."""
    where = {
        "without-neighbours": Condition("repeated", 1500),
        "without-change": Condition("topic-drift", block=60, mixed=900),
    }
    usual = Condition("drift", PROMPTS)
    for condition in (usual, *where.values()):
        names = [name for name in ABLATIONS if name != TOLD_TOPICS and where.get(name, usual) == condition]
        runs = play_condition(world, condition, players_of([PRODUCT, *names], world.outcomes), [0], lambda: None)
        for name in names:
            assert not np.array_equal(runs[PRODUCT][0].arms, runs[name][0].arms), name


def test_told_topics_is_told_the_topic_and_nothing_else(world: World) -> None:
    """It gains over the product where all prompts look alike, and its choices do not depend on what prompts say."""
    blind = replace(world, vectors=np.tile(world.vectors[:1], (PROMPTS, 1)))
    condition = Condition(requests=PROMPTS, cost_weight=0.3)
    players = players_of([PRODUCT, TOLD_TOPICS], world.outcomes)
    seen, unseen = (play_condition(one, condition, players, [0, 1], lambda: None) for one in (world, blind))
    assert np.array_equal([run.arms for run in seen[TOLD_TOPICS]], [run.arms for run in unseen[TOLD_TOPICS]])
    told, product = (np.mean([run.utility.mean() for run in unseen[name]]) for name in (TOLD_TOPICS, PRODUCT))
    assert told > product + 0.05


def test_the_summary_says_where_the_product_is_worse(world: World) -> None:
    """A cell whose whole interval against pooled Thompson sampling lies below 0 is marked and counted."""
    condition = Condition(requests=PROMPTS)
    players = players_of([PRODUCT, POOLED], world.outcomes)
    rows = {row.player: row for row in rows_of(play_condition(world, condition, players, [0, 1], lambda: None))}
    worse = replace(rows[PRODUCT], against_pooled=-3.0, pooled_interval=1.0)
    better = replace(rows[PRODUCT], against_pooled=3.0, pooled_interval=1.0)
    cells = [Cell("a", condition, {PRODUCT: worse}), Cell("b", condition, {PRODUCT: better})]
    text = summary(cells, PRODUCT, [])
    assert "/ -3.0*" in text
    assert "/ +3.0 " in text
    assert "significantly better in 1, significantly worse in 1" in text


def test_the_summary_names_the_sets_where_a_reference_is_better(world: World) -> None:
    """Paired by seed: a constant lead is significant although the seeds differ, an uncertain one is not."""
    condition = Condition(requests=PROMPTS)
    utility = np.array([500.0, 700.0, 600.0])
    cells = [
        Cell("behind", condition, {}, {PRODUCT: utility, "linucb": utility + 5, "always x": utility}),
        Cell("unsure", condition, {}, {PRODUCT: utility, "linucb": utility + np.array([5, -5, 4])}),
        Cell("ahead", condition, {}, {PRODUCT: utility, "linucb": utility - 20}),
    ]
    text = references_summary(cells, PRODUCT)
    assert "v linucb: 3 cells, significantly better in 1, significantly worse in 1: " in text
    assert "behind (shuffled, 100%, 0) -5.0 ± 0.0" in text
    assert "behind -5.0 ± 0.0 |" in text
    assert "always x" not in text
