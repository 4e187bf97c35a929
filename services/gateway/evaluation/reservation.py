"""Costs of an evaluation, estimated before anything is called: for its plan, and for its reservation."""

from __future__ import annotations

from collections.abc import Sequence

from shared.bandit.arms import Price
from shared.bandit.sums import NANO

RUBRIC_TOKENS, VERDICT_TOKENS = 1000, 512
"""Of the judge's prompt beside question and answers, and of its answer at most."""
USUAL_VERDICT_TOKENS = 64

LONGER, LEAST_TOKENS = 2, 256
"""Another model's answer is taken to be at most so many times as long as the served one, and at least so long."""


def verdict_usd(judge: Price, prompt_tokens: int) -> float:
    """Return the usual cost of a verdict on one short answer to such a prompt."""
    return judge.cost_usd(RUBRIC_TOKENS + prompt_tokens + LEAST_TOKENS, USUAL_VERDICT_TOKENS)


def reservation(
    judge: Price, models: Sequence[Price], *, prompt_tokens: int, answer_tokens: int, most_tokens: int | None
) -> int:
    """Return a cautious estimate in 1e-9 USD for the answers of `models` and the judge's verdict on all answers.

    `most_tokens`: the longest answer that the client allows.
    """
    longest = max(LONGER * answer_tokens, LEAST_TOKENS)
    if most_tokens is not None:
        longest = min(longest, max(most_tokens, answer_tokens))
    judged = RUBRIC_TOKENS + prompt_tokens + answer_tokens + len(models) * longest
    usd = judge.cost_usd(judged, VERDICT_TOKENS) + sum(price.cost_usd(prompt_tokens, longest) for price in models)
    return round(usd * NANO)
