"""Made-up outcomes: real or made-up prompts, and five models of which one is the specialist of each topic.

A specialist is right on a topic with one frequency, every other model with a lower one. The frequencies are exact on
the whole set, so that models which are equally good have equal means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import CHARS_PER_TOKEN, MILLION, Outcomes
from shared.bandit.arms import Price

Floats = NDArray[np.float64]

STRENGTHS = {"clear": (0.9, 0.4), "mild": (0.8, 0.65)}
"""Frequency of right answers of the specialist, and of every other model."""

MODELS = tuple(f"made-up/model-{number}" for number in range(1, 6))
EQUAL = (Price(2 / MILLION, 8 / MILLION),) * len(MODELS)
REALISTIC = tuple(
    Price(prompt / MILLION, completion / MILLION)
    for prompt, completion in ((0.1, 0.4), (0.25, 1.25), (0.8, 4.0), (2.5, 10.0), (3.0, 15.0))
)
COMPLETION_TOKENS = 300
"""Median length of an answer."""


def specialist_outcomes(
    name: str, prompts: Sequence[str], topics: Sequence[str], strength: str, *, priced: bool = False, seed: int = 0
) -> Outcomes:
    """Return the outcomes of five models on these prompts. The topics' specialists are the models in turn.

    Their prices are equal, or with `priced` between 0.4 and 15 USD per million tokens of an answer.
    """
    rng = np.random.default_rng([seed, 20_261_130])
    names, topic = np.unique(np.array(topics), return_inverse=True)
    owners = rng.permutation(len(names)) % len(MODELS)
    right, other = STRENGTHS[strength]
    scores = np.empty((len(prompts), len(MODELS)))
    for number in range(len(names)):
        rows = np.flatnonzero(topic == number)
        for arm in range(len(MODELS)):
            scores[rows, arm] = _marks(len(rows), right if arm == owners[number] else other, rng)
    prices = REALISTIC if priced else EQUAL
    prompt_tokens = np.array([max(1, len(prompt) // CHARS_PER_TOKEN) for prompt in prompts])
    completion_tokens = np.round(COMPLETION_TOKENS * np.exp(rng.normal(0, 0.5, len(prompts)))).astype(np.int64)
    costs = [prompt_tokens * price.prompt_usd + completion_tokens * price.completion_usd for price in prices]
    each = (1, len(MODELS))
    return Outcomes(
        name=name,
        models=MODELS,
        prices=prices,
        prompts=tuple(prompts),
        tasks=tuple(topics),
        scores=scores,
        costs=np.stack(costs, axis=1),
        prompt_tokens=np.tile(prompt_tokens[:, None], each),
        completion_tokens=np.tile(completion_tokens[:, None], each),
    )


def _marks(number: int, frequency: float, rng: np.random.Generator) -> Floats:
    """Return `number` marks of 0 or 1 in random order, of which exactly that share is 1."""
    marks = np.zeros(number)
    marks[: round(frequency * number)] = 1.0
    return rng.permutation(marks)
