"""Selection of the models for `free` in LLM_MODELS, by a rule over the upstream's list.

A model qualifies if it is listed with price 0 (prompt, completion, and request), reads text, writes text and nothing
else, has a context of 32,000 tokens or an unknown one, is no router (`openrouter/…`, `…/auto`, `…-router`: they charge
for what they pick), and is no classifier (`…-guard-…`, `…-embed-…`).

Up to eight are chosen. Those chosen before stay while they qualify, for what was learned of a model is worth more than
a newer model; free places are filled in this order: the best of each family first, then the second of each, and so on.
A family is the provider and the product's line (`google`, `gemma`). Within a family the largest of those counts first
that came within 30 days of the newest one, then older ones. Across families: 8 billion parameters or more first, then
the newer first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from shared.bandit.arms import Arm, ArmId
from shared.bandit.families import ALIAS, billions_of, family_of, writes_text

FREE = "free"
"""The word."""

MAX_FREE = 8
MIN_CONTEXT_TOKENS = 32_000
SMALL_BILLIONS = 8.0
GENERATION_S = 30 * 86_400.0

_ROUTERS = frozenset({"auto", "router"})
_CLASSIFIERS = frozenset({"guard", "safeguard", "safety", "moderation", "embed", "embedding", "rerank", "reranker"})


def qualifies(arm: Arm) -> bool:
    """Return whether `free` may stand for `arm`."""
    family = family_of(arm.id)
    if arm.price is None or any((arm.price.prompt_usd, arm.price.completion_usd, arm.price.request_usd)):
        return False
    if arm.id.startswith(ALIAS) or family.provider == "openrouter" or family.words & (_ROUTERS | _CLASSIFIERS):
        return False
    only_text = arm.output_modalities is None or arm.output_modalities == {"text"}
    long_enough = arm.context_tokens is None or arm.context_tokens >= MIN_CONTEXT_TOKENS
    return only_text and long_enough and writes_text(arm)


def ranked(listed: Iterable[Arm]) -> list[ArmId]:
    """Return the models that qualify, in order of preference."""
    families = defaultdict[tuple[str, str], list[Arm]](list)
    for arm in listed:
        if qualifies(arm):
            family = family_of(arm.id)
            families[family.provider, _line(arm.id)].append(arm)
    places = [place for members in families.values() for place in enumerate(_within_family(members))]
    return [arm.id for _, arm in sorted(places, key=lambda place: (place[0], _is_small(place[1]), *_newest(place[1])))]


def filled(kept: Sequence[ArmId], listed: Iterable[Arm]) -> tuple[ArmId, ...]:
    """Return `kept`, followed by others up to the number of places."""
    return tuple(dict.fromkeys((*kept, *ranked(listed))))[: max(MAX_FREE, len(kept))]


def _line(name: ArmId) -> str:
    """Return the product's line, the first letters of the model's name: `gemma` of `google/gemma-3-27b-it:free`."""
    letters = name.rpartition("/")[2].lower()
    return letters[: next((at for at, letter in enumerate(letters) if not letter.isalpha()), len(letters))]


def _within_family(members: list[Arm]) -> list[Arm]:
    newest = max(arm.created or 0.0 for arm in members)

    def order(arm: Arm) -> tuple[float, float, float, str]:
        generation = (newest - (arm.created or 0.0)) // GENERATION_S
        size = billions_of(arm.id)
        return generation, -(float("inf") if size is None else size), *_newest(arm)

    return sorted(members, key=order)


def _is_small(arm: Arm) -> bool:
    size = billions_of(arm.id)
    return size is not None and size < SMALL_BILLIONS


def _newest(arm: Arm) -> tuple[float, str]:
    return -(arm.created or 0.0), arm.id
