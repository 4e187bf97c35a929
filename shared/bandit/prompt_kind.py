"""Kind of a prompt at decision time, as decisions record it."""

from __future__ import annotations

from typing import NamedTuple

from shared.bandit.decision import Decision
from shared.bandit.kinds import KindId, Place
from shared.bandit.posterior import Beliefs, GaussianPosterior


class PromptKind(NamedTuple):
    """The nearest kind of a prompt, and what there was of similar prompts.

    Attributes:
        id: generation and number.
        size: requests that were assigned to it.
        nearness: 1 where the prompt belongs to it, below 1 where the prompt is of a new kind.
        labels: ratings of similar prompts, weighted by age.
        examples: ids of requests of it, those most like its centre first.
    """

    id: KindId
    size: int
    nearness: float
    labels: float
    examples: tuple[str, ...]


def kind_name(kind: KindId) -> str:
    """Return the id of a kind as text: `generation.number`."""
    generation, number = kind
    return f"{generation}.{number}"


def kind_of(decision: Decision) -> PromptKind | None:
    """Return the kind that a decision was made for; None where it was not known, or by a version before kinds."""
    if decision.cluster is None or decision.kind_size is None or decision.nearness is None:
        return None
    labels = decision.kind_labels or 0.0
    return PromptKind(decision.cluster, decision.kind_size, decision.nearness, labels, decision.examples)


def prompt_kind(posterior: GaussianPosterior, place: Place | None, beliefs: Beliefs) -> PromptKind | None:
    """Return the kind of a prompt; None where it is not known."""
    kinds = posterior.kinds
    if place is None or kinds is None:
        return None
    number = kinds.ids[place.row]
    examples = tuple([example.request_id for example in kinds.examples.get(number, ())])
    size, labels = int(kinds.counts[place.row]), beliefs.labels_nearby
    return PromptKind((kinds.generation, number), size, place.nearness, labels, examples)
