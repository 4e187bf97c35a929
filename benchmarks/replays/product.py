"""Product player: the product's own policy, sums and clusters in a replay, without the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.benchmark_indices import benchmark_indices
from benchmarks.replays.judging import NO_JUDGE, Evaluator, answer_sums
from benchmarks.replays.played import Played
from benchmarks.replays.streams import Condition, Stream
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.arms import Arm, ArmId
from shared.bandit.assigner import Assigner
from shared.bandit.context import Context, Neighbour
from shared.bandit.decision import Decision
from shared.bandit.kinds import KindId, no_kinds
from shared.bandit.learning import feedback_sums, score_sums
from shared.bandit.local import searches
from shared.bandit.policy import BanditSettings, Policy
from shared.bandit.sources import Source
from shared.bandit.stored_sums import weighted_sums
from shared.bandit.sums import ArmSums, LearnedState
from shared.bandit.traits import EXTRA_DIMENSION, assign

BLOCK = 250
LARGEST_STEP = 20


class ProductPlayer:
    """One run. It refits after each 4 % of traffic or 20 requests, as a gateway does by time."""

    def __init__(
        self,
        policy: Policy[Any],
        settings: BanditSettings,
        outcomes: Outcomes,
        vectors: NDArray[np.float32] | None,
        seed: int,
        *,
        traits: Sequence[tuple[str, ...]] | None = None,
        condition: Condition | None = None,
    ) -> None:
        """Play with `vectors` of the prompts and the `traits` of the requests, if they have any.

        `condition` says what evidence there is beside users' ratings.
        """
        self._seed, self._condition = seed, condition or Condition()
        self._policy = policy
        self._settings = settings
        indices = benchmark_indices(outcomes, self._condition.prior, seed)
        listed = zip(outcomes.models, outcomes.prices, indices, strict=True)
        self._arms = tuple(Arm(model, price, benchmark=index) for model, price, index in listed)
        self._outcomes = outcomes
        self._index = {arm.id: i for i, arm in enumerate(self._arms)}
        self._parsed: dict[ArmId, ArmSums] = {}
        self._vectors = vectors
        self._traits = traits
        self._rng = np.random.default_rng([seed, 1])
        self._sums: dict[ArmId, Counter[str]] = {arm.id: Counter() for arm in self._arms}
        self._decisions: list[Decision] = []
        self._assigner = None if vectors is None else Assigner(no_kinds(vectors.shape[1] + EXTRA_DIMENSION))
        self._kinds: list[KindId | None] = []
        self._block_start = -1
        self._similarity = np.zeros((0, 0), dtype=np.float32)

    def play(self, stream: Stream) -> Played:
        """Play the stream once."""
        requests, arms = stream.scores.shape
        chosen, chances = np.zeros(requests, dtype=np.intp), np.zeros((requests, arms))
        learned = np.zeros(requests, dtype=bool)
        next_fit = 0
        posterior: Any = None
        evaluator = self._evaluator(stream)
        self._import(stream.imported)
        vectors = None if self._vectors is None else self._vectors[stream.rows]
        for t in range(requests):
            eligible = [arm for arm, may in zip(self._arms, stream.eligible[t], strict=True) if may]
            grown = t > 0 and stream.eligible[t].sum() != stream.eligible[t - 1].sum()
            if t >= next_fit or grown:
                posterior = self._policy.fit(self._state(t), eligible)
                next_fit = max(t + 1, min(int(t * 1.04), t + LARGEST_STEP))
            context = Context()
            if vectors is not None:
                traits = () if self._traits is None else self._traits[stream.rows[t]]
                searched = searches(posterior.search_share, self._rng)
                near = self._neighbours(stream, vectors, learned, t) if searched else ()
                context = Context(vectors[t], near, traits, searched=searched)
            decision = self._policy.decide(posterior, context, [arm.id for arm in eligible], self._rng)
            self._decisions.append(decision)
            self._kinds.append(self._kind(context))
            chosen[t] = self._index[decision.arm]
            for view in decision.views:
                chances[t, self._index[view.arm]] = view.propensity
            self._add(decision.arm, answer_sums(stream, t, int(chosen[t]), self._kinds[t]))
            due = t - stream.delay
            if evaluator is not None:
                evaluator.evaluate(t, decision, posterior, context, self._kinds[t])
                for arm, sums in evaluator.finished(due):
                    self._add(arm, sums)
            if due >= 0 and stream.rated[due]:
                learned[due] = True
                self._add(self._decisions[due].arm, self._feedback(stream, due))
        return Played(chosen, chances, None if evaluator is None else evaluator.beside)

    def posterior(self) -> Any:
        """Return the posterior of everything that was learned, as it is after `play`."""
        return self._policy.fit(self._state(len(self._decisions)), self._arms)

    def _evaluator(self, stream: Stream) -> Evaluator | None:
        if self._condition.judge == NO_JUDGE:
            return None
        arms = [arm.id for arm in self._arms]
        return Evaluator(stream, arms, self._condition, self._settings.weights, self._seed)

    def _import(self, rows: NDArray[np.intp]) -> None:
        """Count the scores of all arms on these prompts, as the command `import` does."""
        for row in rows.tolist():
            context = Context()
            if self._vectors is not None:
                context = Context(self._vectors[row], (), () if self._traits is None else self._traits[row])
            kind = self._kind(context)
            for arm in self._arms:
                i = self._index[arm.id]
                score = float(self._outcomes.scores[row, i])
                self._add(arm.id, score_sums(source=Source.EVAL, score=score, kind=kind))
                self._add(arm.id, answer_sums(self._outcomes, row, i, kind, served=False))

    def _kind(self, context: Context) -> KindId | None:
        if self._assigner is None or context.vector is None:
            return None
        return 1, assign(self._assigner, context.vector, context.traits)

    def _add(self, arm: ArmId, sums: dict[str, int]) -> None:
        self._sums[arm].update(sums)
        self._parsed.pop(arm, None)

    def _state(self, t: int) -> LearnedState:
        for arm in self._sums.keys() - self._parsed.keys():
            self._parsed[arm] = weighted_sums([(1.0, self._sums[arm])])
        arms = {arm: self._parsed[arm] for arm in self._sums}
        return LearnedState(str(t), arms, None if self._assigner is None else self._assigner.kinds)

    def _feedback(self, stream: Stream, t: int) -> dict[str, int]:
        decision = self._decisions[t]
        arm = self._index[decision.arm]
        return feedback_sums(score=float(stream.scores[t, arm]), view=decision.view(decision.arm), kind=self._kinds[t])

    def _neighbours(
        self, stream: Stream, vectors: NDArray[np.float32], learned: NDArray[np.bool_], t: int
    ) -> tuple[Neighbour, ...]:
        if t == 0:
            return ()
        start = t - t % BLOCK
        if start != self._block_start:  # many rows at once: ten times as fast
            self._block_start = start
            self._similarity = vectors[start:][:BLOCK] @ vectors[: start + BLOCK].T
        similarity = self._similarity[t % BLOCK, :t]
        near = np.flatnonzero((similarity >= self._settings.similarity_threshold) & learned[:t])
        near = near[np.argsort(-similarity[near], kind="stable")[: self._settings.max_similar_requests]]
        arms = [self._decisions[past].arm for past in near.tolist()]
        scores = stream.scores[near, [self._index[arm] for arm in arms]] if arms else near
        return tuple(
            Neighbour(str(past), cosine, arm, score)
            for past, cosine, arm, score in zip(
                near.tolist(), similarity[near].tolist(), arms, scores.tolist(), strict=True
            )
        )
