"""Recorded propensities are the frequencies of the choices, whatever a decision is a mixture of."""

from __future__ import annotations

from collections import Counter

import pytest

from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY, Context, Neighbour
from shared.bandit.decision import DecisionKind
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import LearnedState
from tests.support.bandit_worlds import ARMS, A, B, C, by_kind, generator, kinds_at, rated, state, unit
from tests.support.values import replace

SETTINGS = BanditSettings()
CLOSE = state({A: rated(*[1, 0.6, 0.2] * 30), B: rated(*[1, 0.55, 0.2] * 30), C: rated(*[1, 0.5, 0.2] * 30)})
FEW = state({A: rated(*[1, 0.6] * 4), B: rated(*[0.9, 0.5] * 4), C: rated(*[0.8, 0.4] * 4)})
CLEAR = state({A: rated(*[0.9] * 50), B: rated(*[0.3] * 50), C: rated(*[0.2] * 50)})
PROOF = replace(FEW.arms[A].total, gain=9.0, gain_sq=1.0)
PROVEN = replace(FEW, arms={**FEW.arms, A: replace(FEW.arms[A], total=PROOF)})
KINDS = kinds_at((1, 0, 0), (0, 1, 0), counts=(90, 90))
QUALITIES = {A: 0.9, B: 0.6, C: 0.3}
TOPICS = LearnedState("1", {arm: by_kind(rated(*[q] * 30), rated(*[0.5] * 30)) for arm, q in QUALITIES.items()}, KINDS)
NEAR = Context(None, tuple(Neighbour(f"n{i}", 0.9, B, 1.0) for i in range(8)))
UNSURE = replace(SETTINGS, min_confidence_score=1.0, default_arm=C)

MIXTURES = {
    "draws alone": (FEW, EMPTY, replace(SETTINGS, exploration_rate=1.0)),
    "at most the rate": (CLOSE, EMPTY, SETTINGS),
    "at least a share of the rate": (CLEAR, EMPTY, replace(SETTINGS, exploration_rate=1.0)),
    "a new kind": (TOPICS, Context(unit(0.1, 0.1, 1)), SETTINGS),
    "a new kind, where no draw tells": (CLEAR, Context(unit(0.1, 0.1, 1)), replace(SETTINGS, exploration_rate=0.5)),
    "a known kind": (TOPICS, Context(unit(1, 0, 0)), SETTINGS),
    "neighbours": (PROVEN, NEAR, SETTINGS),
    "the default model below MIN_CONFIDENCE_SCORE": (FEW, EMPTY, replace(UNSURE, exploration_rate=0.4)),
    "the same, within the upper bound": (CLOSE, EMPTY, replace(UNSURE, exploration_rate=0.3)),
    "the same, explored always": (FEW, EMPTY, replace(UNSURE, exploration_rate=1.0)),
    "the same, never explored": (FEW, EMPTY, replace(UNSURE, exploration_rate=0.0)),
    "never explored": (FEW, EMPTY, replace(SETTINGS, exploration_rate=0.0)),
}
DRAWS = 4000


@pytest.mark.parametrize("name", MIXTURES)
def test_recorded_propensities_are_frequencies(name: str) -> None:
    """They sum to 1, are the same in every decision, and each arm comes first as often as they say."""
    learned, context, settings = MIXTURES[name]
    if context.vector is not None:
        learned = replace(learned, kinds=KINDS)
    policy, rng = build_policy(settings), generator(1)
    posterior = policy.fit(learned, ARMS)
    decisions = [policy.decide(posterior, context, (A, B, C), rng) for _ in range(DRAWS)]
    chances = {view.arm: view.propensity for view in decisions[0].views}
    assert sum(chances.values()) == pytest.approx(1.0, abs=1e-9)
    for decision in decisions[:50]:
        assert {view.arm: view.propensity for view in decision.views} == pytest.approx(chances)
        assert decision.propensity == chances[decision.arm]
    counted = Counter(decision.arm for decision in decisions)
    for arm, chance in chances.items():
        allowed = 4.5 * (chance * (1 - chance) / DRAWS) ** 0.5 + 1e-9
        assert counted[arm] / DRAWS == pytest.approx(chance, abs=allowed), arm


def test_safe_start_is_certain() -> None:
    """While SAFE_START holds nothing is drawn."""
    policy = build_policy(replace(SETTINGS, safe_start=True, default_arm=B))
    posterior = policy.fit(FEW, ARMS)
    for seed in range(200):
        decision = policy.decide(posterior, EMPTY, (A, B, C), generator(seed))
        assert (decision.arm, decision.propensity, decision.kind) == (B, 1.0, DecisionKind.DEFAULT)
