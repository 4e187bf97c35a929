"""Simulated judge: answers the router's rubric prompts from the qualities that the world gives to its replies.

Any model judges, `simulated/judge` among them. An answer tells by its text which model wrote it; the quality of that
model's reply to the prompt is its score. The option `--judge` and the header `x-simulate-judge` make the judge worse:

| behaviour | effect |
|---|---|
| `exact` | the quality itself |
| `noisy[;sd=0.25]` | with normal noise |
| `biased[;model=<id>][;by=0.1]` | higher by so much for one model, else for the first of the model list |
| `adversarial` | always 1 |
| `inverted[;model=<id>]` | 1 - quality, for one model or for all |
| `slow[;seconds=5]` | so much later |
| `failing` | status 503 |
| `chatty` | prose without a verdict |

Several are separated by commas: `noisy,biased;by=0.2`. Each changes what the one before has left.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from deploy.simulator.faults import Fault
from deploy.simulator.models import FREE, MILLION, Reply, SimulatedModel, World
from deploy.simulator.recorded_outcomes import CHARS_PER_TOKEN
from shared.bandit.arms import Price

HEADER = "x-simulate-judge"
JUDGE = SimulatedModel("simulated/judge", Price(0.15 / MILLION, 0.6 / MILLION), latency_s=0.3, quality=0.9)

KINDS = ("exact", "noisy", "biased", "adversarial", "inverted", "slow", "failing", "chatty")
UNKNOWN_SCORE = 0.5
"""Score of an answer that names no model."""

CHAT = "All of these answers have their merits, and I would not want to rank them."

_AUTHOR = re.compile(r"\[simulated ([^\]\s]+)\]")
_SCALE = re.compile(r"grade from (-?[\d.]+) to (-?[\d.]+) for each")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One line of the table; an option that is not used is None."""

    kind: str
    model: str | None = None
    sd: float = 0.25
    by: float = 0.1
    seconds: float = 5.0


class Material(NamedTuple):
    """What a rubric prompt holds: the last user message, the answers by number, and the scale."""

    prompt: str
    answers: Mapping[str, str]
    low: float
    high: float


def parse_behaviours(text: str) -> tuple[Behaviour, ...]:
    """Parse the header or the option. Raises ValueError."""
    return tuple(_parsed(each) for each in text.split(","))


def _parsed(text: str) -> Behaviour:
    kind, *options = (part.strip() for part in text.split(";"))
    if kind not in KINDS:
        raise ValueError(f"{HEADER}: unknown behaviour {kind!r}")
    given: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name not in {"model", "sd", "by", "seconds"}:
            raise ValueError(f"{HEADER}: unknown option {option!r}")
        given[name] = value if name == "model" else float(value)
        if name != "model" and not math.isfinite(given[name]):
            raise ValueError(f"{HEADER}: {name} must be a finite number")
    return Behaviour(kind, **given)


def material_of(body: Mapping[str, Any]) -> Material | None:
    """Return what a rubric prompt holds; None for any other request."""
    try:
        first, *_, last = [_text(message) for message in body["messages"]]
        material = json.loads(last)
        messages, answers = material["question"]["messages"], material["answers"]
        asked = [_text(message) for message in messages if message["role"] == "user"]
        scale = _SCALE.search(first)
        low, high = (float(scale[1]), float(scale[2])) if scale else (0.0, 1.0)
        return Material(asked[-1] if asked else "", {str(key): str(text) for key, text in answers.items()}, low, high)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def fault_of(behaviours: Sequence[Behaviour]) -> Fault | None:
    """Return the fault with which a judge answers that is slow or fails."""
    faults = {"failing": "status-503", "slow": "slow-first-token"}
    return next((Fault(faults[each.kind], each.seconds) for each in behaviours if each.kind in faults), None)


class SimulatedJudge:
    """The judge of one world. `rng` draws its noise."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng

    def reply(
        self, judge: SimulatedModel, material: Material, prompt_chars: int, behaviours: Sequence[Behaviour]
    ) -> Reply:
        """Return the verdict of `judge`, with tokens and cost."""
        span = material.high - material.low
        scores = {
            number: round(material.low + span * self._score(material.prompt, answer, behaviours), 4)
            for number, answer in material.answers.items()
        }
        text = CHAT if any(each.kind == "chatty" for each in behaviours) else json.dumps({"scores": scores})
        tokens = max(1, prompt_chars // CHARS_PER_TOKEN), max(1, len(text) // CHARS_PER_TOKEN)
        return Reply(text, judge.quality, *tokens, (judge.price or FREE).cost_usd(*tokens))

    def _score(self, prompt: str, answer: str, behaviours: Sequence[Behaviour]) -> float:
        author = _AUTHOR.search(answer)
        model = None if author is None else self._world.models.get(author[1])
        score = UNKNOWN_SCORE if answer else 0.0
        if model is not None:
            score = self._world.reply(model, prompt, len(prompt)).quality
        for each in behaviours:
            score = min(1.0, max(0.0, _changed(score, each, model, self._world, self._rng)))
        return score


def _changed(
    score: float, behaviour: Behaviour, author: SimulatedModel | None, world: World, rng: random.Random
) -> float:
    model = None if author is None else author.id
    match behaviour.kind:
        case "noisy":
            return score + rng.gauss(0.0, behaviour.sd)
        case "biased":
            return score + behaviour.by * (model == (behaviour.model or next(iter(world.models))))
        case "adversarial":
            return 1.0
        case "inverted":
            return 1.0 - score if behaviour.model in (None, model) else score
        case _:
            return score


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return next((part["text"] for part in content if part.get("type") == "text"), "")
    return content if isinstance(content, str) else ""
