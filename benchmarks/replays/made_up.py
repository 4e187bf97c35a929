"""Made-up set of prompts: short everyday requests of eight topics in several languages, from templates.

The templates stand in `made_up_prompts.json`: by topic and language, with slots that are filled at random from a list
of words or from a range of numbers ("2-19").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from benchmarks.replays.specialists import STRENGTHS, specialist_outcomes
from deploy.simulator.recorded_outcomes import Outcomes

PROMPTS = 400
"""Different prompts of each topic."""

ENGLISH = 0.7
"""Share of prompts in English; the other languages of the topic share the rest."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Variant of the set: strength of the specialists, whether prices differ, share of English prompts."""

    strength: str
    priced: bool = False
    english: float = ENGLISH


MADE_UP = {
    f"made-up-{strength}{suffix}": variant
    for strength in STRENGTHS
    for suffix, variant in (
        ("", Variant(strength)),
        ("-priced", Variant(strength, priced=True)),
        ("-english", Variant(strength, english=1.0)),
    )
}
"""Variants by name."""

TEMPLATES = Path(__file__).with_name("made_up_prompts.json")


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Prompts with their topics, and a system prompt of each topic."""

    prompts: tuple[str, ...]
    topics: tuple[str, ...]
    system_prompts: dict[str, str]


def made_up_outcomes(name: str) -> Outcomes:
    """Return one of the sets `MADE_UP`."""
    variant = MADE_UP[name]
    made = made_up_prompts(english=variant.english)
    return specialist_outcomes(name, made.prompts, made.topics, variant.strength, priced=variant.priced)


def made_up_prompts(per_topic: int = PROMPTS, *, english: float = ENGLISH, seed: int = 0) -> MadeUp:
    """Return so many different prompts of each topic; the same for the same seed."""
    source: dict[str, Any] = json.loads(TEMPLATES.read_text("utf-8"))
    rng = np.random.default_rng([seed, 8])
    prompts: dict[str, str] = {}
    for topic, parts in source["topics"].items():
        languages = [language for language in parts if language != "system"]
        others = max(1, len(languages) - 1)
        shares = [english if language == "en" else (1 - english) / others for language in languages]
        wanted = len(prompts) + per_topic
        while len(prompts) < wanted:
            language = languages[rng.choice(len(languages), p=np.array(shares) / sum(shares))]
            opener, closer = (_one(source[part][language], rng) for part in ("openers", "closers"))
            prompts.setdefault(f"{opener}{_filled(parts[language], rng)}{closer}", topic)
    systems = {topic: str(parts["system"]) for topic, parts in source["topics"].items()}
    return MadeUp(tuple(prompts), tuple(prompts.values()), systems)


def _filled(parts: dict[str, Any], rng: np.random.Generator) -> str:
    template, slots = _one(parts["templates"], rng), parts["slots"]
    names = {name for _, name, _, _ in Formatter().parse(template) if name}
    return template.format(**{name: _value(slots[name], rng) for name in sorted(names)})


def _value(slot: list[str] | str, rng: np.random.Generator) -> str:
    if isinstance(slot, str):
        low, _, high = slot.partition("-")
        return str(rng.integers(int(low), int(high) + 1))
    return _one(slot, rng)


def _one(values: list[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
