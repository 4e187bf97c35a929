"""What is said of each kind of prompt agrees with decisions and with what is said of all traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.bandit.assigner import Assigner
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.kind_summary import KindSummary, kind_summaries
from shared.bandit.kinds import Kinds, no_kinds
from shared.bandit.mixed_thompson import MixedThompson
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.steering import greedy
from shared.bandit.sums import ArmSums, LearnedState
from shared.bandit.traits import EXTRA_DIMENSION, assign
from tests.support.bandit_worlds import ARMS, A, B, C, generator, rated
from tests.support.values import replace

SETTINGS = BanditSettings(weights=Weights(0.6, 0.2, -0.2), exploration_rate=0.1)
TOPICS = np.eye(4, dtype=np.float32)
"""One direction each; the last one is never seen."""
SPECIALISTS = (A, B, C)
SIZES = (30, 60, 10)


def kinds_of_three() -> Kinds:
    """Three kinds of different sizes."""
    assigner = Assigner(no_kinds(4 + EXTRA_DIMENSION))
    for topic, size in enumerate(SIZES):
        for at in range(size):
            assign(assigner, TOPICS[topic], (), f"request-{topic}-{at}")
    return assigner.kinds


def learned(*, unknown: int = 0) -> LearnedState:
    """Each arm has 20 ratings of each kind, .9 where it is the specialist, .4 elsewhere; A some of no kind as well."""
    kinds = kinds_of_three()
    arms = {}
    for arm in SPECIALISTS:
        scores = [[0.9 if specialist == arm else 0.4] * 20 for specialist in SPECIALISTS]
        cells = {(1, kind): rated(*scores[kind], requests=SIZES[kind]) for kind in kinds.ids}
        more = [0.5] * (unknown if arm == A else 0)
        arms[arm] = ArmSums(rated(*sum(scores, more), requests=sum(SIZES) + len(more)), cells)
    return LearnedState("1", arms, kinds)


def fitted(state: LearnedState | None = None) -> GaussianPosterior:
    return MixedThompson(SETTINGS).fit(state or learned(), ARMS)


def decided(posterior: GaussianPosterior, topic: int, *, seed: int = 0, **changes: Any) -> Decision:
    policy = MixedThompson(replace(SETTINGS, **changes))
    return policy.decide(posterior, Context(TOPICS[topic], ()), (A, B, C), generator(seed))


def summaries(posterior: GaussianPosterior, limit: int = 64) -> tuple[KindSummary, ...]:
    return kind_summaries(posterior, SETTINGS.weights, limit)


def test_the_largest_kinds_come_first() -> None:
    """With their evidence, nearest examples and the specialist as the best model; no more of them than asked for."""
    all_three = summaries(fitted())
    assert [(one.id, one.size) for one in all_three] == [((1, 1), 60), ((1, 0), 30), ((1, 2), 10)]
    assert [one.best for one in all_three] == [B, A, C]
    assert all(one.chance > 0.9 for one in all_three)
    assert [one.examples[0].request_id for one in all_three] == ["request-1-1", "request-0-1", "request-2-1"]
    assert [(one.labels, one.requests) for one in all_three] == [(60, 180), (60, 90), (60, 30)]
    assert [(arm.arm, arm.labels, arm.requests) for arm in all_three[2].arms] == [(A, 20, 10), (B, 20, 10), (C, 20, 10)]
    assert summaries(fitted(), 1) == all_three[:1]


@pytest.mark.parametrize("topic", [0, 1, 2])
def test_a_decision_says_the_same_of_its_kind(topic: int) -> None:
    """Quality, interval, cost, utility, the best arm and its probability are those of a prompt of that kind."""
    posterior = fitted()
    decision = decided(posterior, topic)
    (shown,) = [one for one in summaries(posterior) if one.id == decision.cluster]
    assert (decision.kind_size, decision.nearness) == (shown.size, 1.0)
    assert decision.examples == tuple(example.request_id for example in shown.examples)
    for arm in shown.arms:
        view = decision.view(arm.arm)
        assert view is not None
        assert arm.quality == view.base_quality
        assert arm.utility == view.utility
        assert arm.cost_usd == view.cost_usd
        assert arm.quality_low == pytest.approx(arm.quality - 1.96 * view.quality_sd, abs=1e-4)
        assert arm.quality_high == pytest.approx(min(arm.quality + 1.96 * view.quality_sd, 1), abs=1e-4)
    best = max(decision.views, key=lambda view: view.utility)
    assert shown.best == best.arm == SPECIALISTS[topic]
    chosen = decided(posterior, topic, exploration_rate=0.0)
    assert (chosen.arm, chosen.confidence) == (shown.best, shown.chance)


@pytest.mark.parametrize("unknown", [0, 40])
def test_overall_figures_are_the_kinds_weighted_by_traffic(unknown: int) -> None:
    """Requests without a kind are one more of them; ratings and requests add up, too."""
    posterior = fitted(learned(unknown=unknown))
    kinds = summaries(posterior)
    total = sum(one.requests for one in posterior.sums)
    for at, overall in enumerate(posterior.summary()):
        mean = sum(one.requests / total * one.arms[at].quality for one in kinds)
        mean += unknown / total * posterior.quality[1, at]
        assert overall.quality == pytest.approx(mean)
        more = unknown if overall.arm == A else 0
        assert overall.labels == sum(one.arms[at].labels for one in kinds) + more
        assert overall.requests == sum(one.arms[at].requests for one in kinds) + more


def test_without_kinds_there_is_nothing_to_say() -> None:
    """Nor without arms."""
    assert summaries(fitted(LearnedState("0", {}))) == ()
    assert kind_summaries(MixedThompson(SETTINGS).fit(learned(), ()), SETTINGS.weights, 64) == ()


def test_the_reason_names_kind_and_runner_up() -> None:
    """With what was expected of both, an example of the kind, and the probability that the chosen one is the best."""
    decision = decided(fitted(), 0, exploration_rate=0.0)
    second = decision.view(decision.ranked[1])
    assert second is not None
    assert decision.reason.startswith("maker/a is expected to be the best model: quality 0.8")
    assert "best with probability above 0.99." in decision.reason
    assert "The prompt is of kind 1.0 (30 requests, such as request-0-1), with 60 ratings of similar" in decision.reason
    assert decision.reason.endswith(
        f"Next is {second.arm} with quality {second.quality:.2f} ± {second.quality_sd:.2f}."
    )


def test_a_new_kind_is_said_to_be_new() -> None:
    """With the few ratings of similar prompts, a wide interval and no claim of being sure."""
    decision, known = decided(fitted(), 3), decided(fitted(), 0)
    assert f"best with probability {decision.confidence:.2f}." in decision.reason
    assert "This is a new kind of prompt, with 0 ratings of similar prompts; the nearest is kind 1.0" in decision.reason
    assert decision.nearness is not None
    assert decision.nearness < 1
    assert decision.confidence < 0.6
    assert decision.views[0].quality_sd > 2 * known.views[0].quality_sd


def test_a_try_is_not_said_to_be_best() -> None:
    """An arm that only the draw put first is tried to learn more about it."""
    tries = [decided(fitted(), 0, seed=seed, exploration_rate=1.0) for seed in range(200)]
    tried = [decision for decision in tries if decision.explored]
    assert tried
    assert all("is tried, to learn more about it" in decision.reason for decision in tried)
    assert all("is expected to be the best model" in decision.reason for decision in tries if not decision.explored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"min_confidence_score": 0.9},
            ("maker/a is", "only with probability 0.", "(0.9). This is a new kind", "Next is"),
        ),
        ({"safe_start": True}, ("with a probability of 95% yet (SAFE_START).",)),
    ],
)
def test_the_default_model_has_its_reason(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    """Which of both settings it answers by, and by how much."""
    decision = decided(fitted(), 3, **{"default_arm": B, "exploration_rate": 0.0, **changes})
    assert decision.kind is DecisionKind.DEFAULT
    assert decision.reason.startswith(f"{decision.arm} is the default model")
    assert [word for word in words if word not in decision.reason] == []


def test_a_decision_without_exploration_says_the_same() -> None:
    """With the reason why nothing is explored, also for a new kind of prompt."""
    followed = greedy(decided(fitted(), 0, seed=3), "off")
    assert followed.reason.startswith("maker/a is expected to be the best model: quality 0.8")
    assert "best with probability above 0.99. Nothing is explored: the client asked for that. The prompt is of" in (
        followed.reason
    )
    assert "Next is maker/b with quality 0.40" in followed.reason
    assert "a new kind of prompt" in greedy(decided(fitted(), 3), "off").reason
