"""Off-policy evaluation of a log: which requests count, what other settings would choose, and known truths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks import evaluate
from benchmarks.evaluations.log import Log, Logged, LogReader, make_log, why_not
from benchmarks.evaluations.tables import judged
from benchmarks.evaluations.targets import fixed, judge, other_settings, uniform, with_needed
from benchmarks.evaluations.validate import pooled, validate
from deploy.simulator.recorded_outcomes import Outcomes
from services.learner.commands.export import line
from shared.bandit.arms import Price
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.off_policy import ESTIMATORS
from shared.bandit.policy import BanditSettings
from shared.bandit.steering import greedy, hold, overrule
from shared.schemas.history import PastRating, PastRequest
from shared.schemas.records import Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from tests.support.bandit_worlds import ARMS, A, B, C, generator, rated, state
from tests.support.sample_records import a_record
from tests.support.values import replace

SETTINGS = BanditSettings(weights=Weights(0.6, 0.2, -0.2))
SUMS = {
    A: rated(0.9, 0.8, 1.0, 0.7, cost_usd=0.04, latency_s=4.0),
    B: rated(0.8, 0.7, 0.9, cost_usd=0.003, latency_s=6.0),
    C: rated(0.6, 0.9, 0.7, cost_usd=0.001, latency_s=9.0),
}
WORTH = {A: 0.9, B: 0.75, C: 0.6}


def drawn(settings: BanditSettings = SETTINGS, seed: int = 0) -> Decision:
    """One decision of the product's policy."""
    policy = build_policy(settings)
    return policy.decide(policy.fit(state(SUMS), ARMS), EMPTY, (A, B, C), generator(seed))


def a_log(n: int = 800) -> Log:
    """Decisions of one posterior, with what came of them."""
    decisions = [drawn(seed=seed) for seed in range(n)]
    return make_log([Logged.of(each, WORTH[each.arm], 0.01, 1.0) for each in decisions])


def a_request(decision: Decision, now: float, **changes: object) -> RequestRecord:
    """An answered request of this decision."""
    record = a_record(now, arm=decision.arm)
    return replace(record, decision=decision, **changes)


def exported(path: Path, records: list[tuple[RequestRecord, float | None]]) -> Path:
    """Write them as the learner's export does."""
    lines = []
    for record, score in records:
        ratings = () if score is None else (PastRating(record.id, 1, score, None, record.created_at),)
        lines.append(line(PastRequest(NewRecord(record, None), ratings), vectors=False))
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"COST_WEIGHT": -0.5},
        {"FEEDBACK_WEIGHT": 0.9, "LATENCY_WEIGHT": 0.0},
        {"EXPLORATION_RATE": 0.4},
        {"EXPLORATION_RATE": 0.0},
    ],
)
def test_other_settings_are_judged_by_the_probabilities_they_would_have_had(changes: dict[str, float]) -> None:
    """Recomputed from the record alone, they are those of the policy with these settings."""
    log = a_log(1)
    weights = Weights(
        changes.get("FEEDBACK_WEIGHT", 0.6), changes.get("LATENCY_WEIGHT", 0.2), changes.get("COST_WEIGHT", -0.2)
    )
    settings = replace(SETTINGS, weights=weights, exploration_rate=changes.get("EXPLORATION_RATE", 0.1))
    target = other_settings(log, changes, SETTINGS.exploration_rate, lambda *_: None)
    views = {view.arm: view.propensity for view in drawn(settings).views}
    assert target.chances[0].tolist() == pytest.approx([views[arm] for arm in log.arms], abs=1e-9)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("worse", [0.0, 0.55])
def test_other_rates_are_judged_within_the_bounds_of_the_explored_share(rate: float, worse: float) -> None:
    """Where the bounds and not the draws set the probabilities, these are recomputed as well."""
    learned = state({A: rated(*[1.0, 0.6, 0.2] * 30), B: rated(*[1.0, worse, 0.2] * 30), C: rated(*[0.1] * 15)})
    logged, other = (
        (policy := build_policy(replace(SETTINGS, exploration_rate=each))).decide(
            policy.fit(learned, ARMS), EMPTY, (A, B, C), generator()
        )
        for each in (0.1, rate)
    )
    log = make_log([Logged.of(logged, 1.0, 0.01, 1.0)])
    target = other_settings(log, {"EXPLORATION_RATE": rate}, 0.1, lambda *_: None)
    chances = {view.arm: view.propensity for view in other.views}
    assert target.chances[0].tolist() == pytest.approx([chances[arm] for arm in log.arms], abs=1e-6)


def test_answers_of_the_default_model_count_where_it_was_drawn() -> None:
    """Below MIN_CONFIDENCE_SCORE the default model has a probability: leaving its answers out would bias the rest."""
    settings = replace(SETTINGS, min_confidence_score=1.0, default_arm=C)
    decisions = [drawn(settings, seed) for seed in range(60)]
    by_default = [one for one in decisions if one.kind is DecisionKind.DEFAULT]
    assert 30 < len(by_default) < 60
    assert {why_not(a_request(one, 1.0), 0.5) for one in decisions} == {None}
    assert not any(one.explored for one in by_default), "no draw chose it"


def test_a_refused_target_is_told_what_it_needs() -> None:
    """How many more requests like these, or at which exploration: with as many of either it is judged."""
    settings = replace(SETTINGS, exploration_rate=0.1)
    log = a_log(200)
    target = fixed(log, C, log.weights)
    refused = judge(target, generator(), 20)
    verdict = with_needed(refused, target, settings.exploration_rate)
    assert not refused.estimates
    assert verdict.needed is not None
    at_full = verdict.needed_at[1.0]
    assert at_full is not None
    assert at_full < verdict.needed
    text = judged(verdict)
    assert f"about {verdict.needed - 200:,} more requests like these" in text
    assert f"about {at_full:,} at EXPLORATION_RATE=1" in text
    exploring = replace(settings, exploration_rate=1.0)
    more = make_log([Logged.of(drawn(exploring, seed), 0.5, 0.01, 1.0) for seed in range(round(1.3 * at_full))])
    assert judge(fixed(more, C, log.weights), generator(), 20).estimates


def test_what_needs_relearning_is_refused() -> None:
    """A log cannot tell what other priors would have learned."""
    with pytest.raises(ValueError, match="replay"):
        other_settings(a_log(1), {"OPTIMISTIC_PRIOR": 0.5}, 0.1, lambda *_: None)


def test_only_drawn_answered_and_rated_requests_count() -> None:
    """A request that was not drawn for, not answered by the choice, or not rated is left out, with the reason."""
    decision = drawn()
    best = max(decision.views, key=lambda view: view.utility).arm
    other = next(arm for arm in (A, B, C) if arm != decision.arm)
    request = a_request(decision, 1.0)
    outcome: Outcome = request.outcome
    pinned = Decision(DecisionKind.PINNED, (A,), 1.0, 1.0, "named")
    cases = {
        None: request,
        "model named by the client": a_request(pinned, 1.0),
        "conversation kept its model": a_request(hold(decision, best, 0.1), 1.0),
        "terms of the caller's own": a_request(replace(decision, terms="cheap"), 1.0),
        "not explored": a_request(greedy(decision, "off"), 1.0),
        "shadow mode": a_request(overrule(decision, A), 1.0, shadow=decision),
        "default model": a_request(replace(pinned, kind=DecisionKind.DEFAULT), 1.0),
        "another model answered": replace(
            request, decision=replace(decision, kind=DecisionKind.FALLBACK), outcome=replace(outcome, arm=other)
        ),
        "not answered": replace(request, outcome=replace(outcome, status=Status.CANCELLED)),
    }
    assert {why: why_not(record, 0.5) for why, record in cases.items()} == {why: why for why in cases}
    assert why_not(request, None) == "not rated"
    reader = LogReader()
    for record in cases.values():
        reader.add(record, 0.5)
    log = reader.log()
    assert log is not None
    assert len(log) == 1
    assert sum(reader.left_out.values()) == len(cases) - 1


def test_an_arm_is_judged_where_it_was_eligible_and_never_where_it_was_not() -> None:
    """Requests before an arm came are not held against it; a log of choices without it refuses."""
    policy = build_policy(SETTINGS)
    posterior = policy.fit(state(SUMS), ARMS)
    early = [policy.decide(posterior, EMPTY, (A, B), generator(seed)) for seed in range(100)]
    late = [policy.decide(posterior, EMPTY, (A, B, C), generator(seed)) for seed in range(300)]
    log = make_log([Logged.of(each, WORTH[each.arm], 0.01, 1.0) for each in (*early, *late)])
    assert len(fixed(log, C, log.weights).log) == 300
    assert uniform(log, log.weights).chances.sum(axis=1) == pytest.approx(1)
    certain = [greedy(each, "off") for each in early]
    unexplored = make_log([Logged.of(each, WORTH[each.arm], 0.01, 1.0) for each in certain])
    never = next(arm for arm in (A, B) if arm != certain[0].arm)
    verdict = judge(fixed(unexplored, never, log.weights), generator())
    assert verdict.estimates == {}
    assert verdict.support.refusal is not None


def test_the_command_reads_an_exported_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Quality of a policy by a log of another, with the requests that do not count named."""
    records: list[tuple[RequestRecord, float | None]] = []
    for seed in range(800):
        decision = drawn(seed=seed)
        records.append((a_request(decision, float(seed)), WORTH[decision.arm]))
    records += [(a_request(greedy(drawn(), "off"), 900.0), 0.1), (a_request(drawn(), 901.0), None)]
    file = exported(tmp_path / "log.jsonl", records)
    assert evaluate.main(["--log", str(file), "--set", "COST_WEIGHT=-0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == 800
    assert found["left_out"] == {"not explored": 1, "not rated": 1}
    target = other_settings(a_log(1), {"COST_WEIGHT": -0.3}, 0.1, lambda *_: None)
    truth = sum(chance * WORTH[arm] for chance, arm in zip(target.chances[0], target.log.arms, strict=True))
    interval = found["targets"][0]["estimates"]["quality"]["SNIPS"]["value"]
    assert interval["low"] - 0.01 <= truth <= interval["high"] + 0.01
    assert evaluate.main(["--log", str(file)]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*ESTIMATORS, "as it was", "uniform random", f"always {A}", "1 not rated"))


def test_mistakes_are_reported_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that is no log, a log without evidence, an unknown model or setting: a sentence and exit code 1 or 2."""
    broken, empty = tmp_path / "broken.jsonl", tmp_path / "empty.jsonl"
    broken.write_bytes(orjson.dumps({"score": 1}) + b"\n")
    empty.write_bytes(b"")
    good = exported(tmp_path / "good.jsonl", [(a_request(drawn(), 1.0), 0.5)])
    for file, more in ((broken, []), (empty, []), (good, ["--arm", "no/such"]), (tmp_path / "missing", [])):
        assert evaluate.main(["--log", str(file), *more]) == 1
        assert capsys.readouterr().err.strip()
    with pytest.raises(SystemExit):
        evaluate.main(["--log", str(good), "--set", "SAFE_START=1"])


def made_up_outcomes() -> Outcomes:
    """Two tasks, three arms, and noise."""
    rng = np.random.default_rng(1)
    task = np.arange(400) % 2
    chances = np.stack((np.full(400, 0.8), np.where(task == 0, 0.9, 0.5), np.full(400, 0.6)), axis=1)
    return Outcomes(
        name="made-up",
        models=("m/dear", "m/special", "m/cheap"),
        prices=(Price(1e-5, 1e-5), None, Price(1e-7, 1e-7)),
        prompts=tuple(f"prompt {i}" for i in range(400)),
        tasks=tuple(f"task {k}" for k in task),
        scores=(rng.random((400, 3)) < chances).astype(float),
        costs=np.tile([1e-2, 1e-3, 1e-4], (400, 1)),
        prompt_tokens=np.full((400, 3), 100),
        completion_tokens=np.full((400, 3), 100),
    )


def test_the_truth_lies_inside_the_intervals() -> None:
    """On logs of the product's policy, learning and not, at least nine intervals in ten hold the known truth."""
    lines = validate(made_up_outcomes(), 8, 400, lambda *_: None)
    for estimator in ESTIMATORS:
        judged, value, difference = pooled(lines, estimator)
        assert judged > 30, estimator
        assert value >= 0.85, estimator  # 8 logs of each kind, whose targets share their luck
        assert difference >= 0.85, estimator


def test_an_answer_of_unknown_cost_is_not_free_in_a_log() -> None:
    """Its cost is taken to be what was expected of its model."""
    expected = drawn().view(drawn().arm)
    assert expected is not None
    assert expected.cost_usd is not None
    reader = LogReader()
    outcome = replace(a_record(1e9).outcome, arm=drawn().arm, cost_usd=None, cost_source="unknown")
    reader.add(a_request(drawn(), 1e9, outcome=outcome), 0.5)
    log = reader.log()
    assert log is not None
    assert log.paid_usd[0] == pytest.approx(expected.cost_usd)
    assert log.paid_usd[0] > 0
