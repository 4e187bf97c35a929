"""Worlds of a replay: recorded or made-up outcomes with the vectors of their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.made_up import MADE_UP, made_up_outcomes, made_up_prompts
from benchmarks.replays.specialists import specialist_outcomes
from benchmarks.replays.topics import topics_of
from benchmarks.replays.vectors import text_vectors
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One data set with its vectors.

    Attributes:
        outcomes: scores and costs.
        vectors: of the prompts, (n, d): what tells kinds of prompt apart.
        prompt_vectors: of the user's text alone, where `vectors` describe more than that; else None.
        specialists: whether each topic has a specialist, so that figures by topic say something.
    """

    outcomes: Outcomes
    vectors: Vectors
    prompt_vectors: Vectors | None = None
    specialists: bool = False


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """How a world is made.

    Attributes:
        embedding_model, cache: the embedder's, and the folder of its model and of computed vectors.
        specialists: strength by which five made-up models replace the recorded ones, one for each task; None: recorded.
        system_prompts: weight of the system prompt's vector beside the user text's, 0 to 1; for made-up sets.
    """

    embedding_model: str = "static"
    cache: Path = Path(".local/models")
    specialists: str | None = None
    system_prompts: float = 0.0


def load_world(data: str | None, options: WorldOptions) -> World:
    """Return the world of a folder, of a made-up set by name, or of the example (None).

    Raises ValueError, with a message for the user, where there is no such world.
    """
    if data in MADE_UP:
        outcomes = made_up_outcomes(data)
    else:
        if options.system_prompts:
            raise ValueError(f"--system-prompts needs a made-up set: --data {' or '.join(MADE_UP)}")
        outcomes = load_outcomes(None if data is None else Path(data))
        if options.specialists is not None:
            outcomes = _with_specialists(outcomes, options.specialists)
    vectors = text_vectors(outcomes.prompts, options.embedding_model, options.cache)
    prompt_vectors = None
    if options.system_prompts:
        prompt_vectors, vectors = vectors, _joint(vectors, _system_vectors(outcomes, options), options.system_prompts)
    return World(outcomes, vectors, prompt_vectors, specialists=data in MADE_UP or options.specialists is not None)


def _with_specialists(outcomes: Outcomes, strength: str) -> Outcomes:
    topics = topics_of(outcomes)
    names = [topics.names[number] for number in topics.of_row.tolist()]
    return specialist_outcomes(f"{outcomes.name}-{strength}", outcomes.prompts, names, strength)


def _system_vectors(outcomes: Outcomes, options: WorldOptions) -> Vectors:
    systems = made_up_prompts().system_prompts
    vectors = text_vectors(tuple(systems.values()), options.embedding_model, options.cache)
    place = {topic: number for number, topic in enumerate(systems)}
    return np.asarray(vectors[[place[topic] for topic in outcomes.tasks]])


def _joint(prompts: Vectors, systems: Vectors, weight: float) -> Vectors:
    """Return unit vectors whose cosine is the weighted mean of the two cosines."""
    joint = np.hstack((np.sqrt(1 - weight) * prompts, np.sqrt(weight) * systems))
    return np.asarray(joint, dtype=np.float32)
