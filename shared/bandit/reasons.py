"""Reason of a decision: sentences for a person about the chosen arm, the kind of prompt and the runner-up."""

from __future__ import annotations

from collections.abc import Sequence

from shared.bandit.decision import Decision
from shared.bandit.prompt_kind import PromptKind, kind_name, kind_of
from shared.bandit.weighing import Weighed


def chosen(weighed: Weighed, order: Sequence[int], kind: PromptKind | None, shift: float | None) -> str:
    """Return why the first of `order` was chosen; `shift` by neighbours, None where they were not used."""
    first = order[0]
    facts = weighed.facts[first]
    why = "is expected to be the best model" if first == weighed.best else "is tried, to learn more about it"
    moved = "" if shift is None else f" ({shift:+.2f} by similar requests)"
    chance = f"best with probability {_chance(weighed.confidence(first))}"
    belief = f"{facts.arm} {why}: quality {_figure(weighed, first)}{moved}, {chance}."
    if kind is None:
        evidence = f"The kind of prompt is not known: {_count(facts.labels, 'rating')} of this model on all prompts."
    else:
        evidence = _kind(kind)
    return " ".join((belief, evidence, *_runner_up(weighed, order)))


def unexplored(decision: Decision, why: str) -> str:
    """Return why the best arm of a decision without exploration answers."""
    best, *others = decision.views
    figure = f"quality {best.quality:.2f} ± {best.quality_sd:.2f}, best with probability {_chance(decision.confidence)}"
    words = [f"{best.arm} is expected to be the best model: {figure}.", f"Nothing is explored: {why}."]
    if (kind := kind_of(decision)) is not None:
        words.append(_kind(kind))
    if others:
        words.append(f"Next is {others[0].arm} with quality {others[0].quality:.2f} ± {others[0].quality_sd:.2f}.")
    return " ".join(words)


def uncertain(weighed: Weighed, order: Sequence[int], kind: PromptKind | None, bound: float) -> str:
    """Return why DEFAULT_MODEL answers where even the best arm is so with a probability below `bound`."""
    default, best = weighed.facts[order[0]].arm, weighed.facts[weighed.best].arm
    chance = _chance(weighed.confidence(weighed.best))
    belief = f"{best} is expected to be the best model, but only with probability {chance}"
    words = f"{default} is the default model. {belief}, below MIN_CONFIDENCE_SCORE ({bound:g})."
    return " ".join((words, *([] if kind is None else [_kind(kind)]), *_runner_up(weighed, order)))


def safe_start(weighed: Weighed, order: Sequence[int], chance: float) -> str:
    """Return why DEFAULT_MODEL answers until another arm is better with the probability `chance`."""
    default = weighed.facts[order[0]].arm
    return (
        f"{default} is the default model, and no other is better with a probability of {chance:.0%} yet (SAFE_START)."
    )


def _kind(kind: PromptKind) -> str:
    like = f", such as {kind.examples[0]}" if kind.examples else ""
    name = f"kind {kind_name(kind.id)} ({_count(kind.size, 'request')}{like})"
    rated = f"{_count(kind.labels, 'rating')} of similar prompts"
    if kind.nearness < 1:
        return f"This is a new kind of prompt, with {rated}; the nearest is {name}."
    return f"The prompt is of {name}, with {rated}."


def _runner_up(weighed: Weighed, order: Sequence[int]) -> list[str]:
    if len(order) < 2:
        return []
    return [f"Next is {weighed.facts[order[1]].arm} with quality {_figure(weighed, order[1])}."]


def _figure(weighed: Weighed, i: int) -> str:
    return f"{weighed.quality[i]:.2f} ± {weighed.facts[i].quality_sd:.2f}"


def _chance(chance: float) -> str:
    """Return a probability, never rounded to certainty."""
    return "above 0.99" if chance > 0.99 else "below 0.01" if chance < 0.01 else f"{chance:.2f}"


def _count(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}{'' if round(number) == 1 else 's'}"
