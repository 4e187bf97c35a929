"""Worlds of a replay: recorded prompts with specialists, and system prompts beside the user's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.replays import worlds
from benchmarks.replays.product import ProductPlayer
from benchmarks.replays.specialists import MODELS
from benchmarks.replays.streams import Condition, make_stream
from benchmarks.replays.topics import topics_of
from benchmarks.replays.worlds import WorldOptions, load_world
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes
from shared.bandit.build import build_policy
from shared.bandit.policy import BanditSettings
from shared.bandit.shape import FIGURES


def vectors_of(texts: Sequence[str], model: str, cache: Path) -> NDArray[np.float32]:
    """One axis for each text, by its place: no two texts are alike."""
    return np.eye(len(texts), dtype=np.float32)[:, : len(texts)]


@pytest.fixture(autouse=True)
def no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "text_vectors", vectors_of)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """Part of the example: real prompts of many tasks."""
    outcomes = load_outcomes(None).take(np.arange(1200))
    monkeypatch.setattr(worlds, "load_outcomes", lambda _: outcomes)
    return outcomes


def test_a_folder_keeps_its_prompts_and_gets_specialists(recorded: Outcomes) -> None:
    """Five models, one of which is right in nine of ten answers to each task; without the option, what is recorded."""
    assert load_world("folder", WorldOptions()).outcomes is recorded
    world = load_world("folder", WorldOptions(specialists="clear"))
    assert world.specialists
    assert world.outcomes.prompts == recorded.prompts
    assert world.outcomes.models == MODELS
    assert world.outcomes.name != recorded.name
    topics = topics_of(world.outcomes)
    assert set(topics.names) == set(topics_of(recorded).names)
    assert len(topics.names) > 2
    assert np.sort(topics.scores, axis=1)[:, -1] == pytest.approx(0.9, abs=0.01)
    assert np.sort(topics.scores, axis=1)[:, -2] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(("variant", "own", "others"), [("topic", 1.0, 0.6), ("varied", 0.7, 0.9), ("same", 1.0, 1.0)])
def test_system_prompts_are_traits_of_the_requests(variant: str, own: float, others: float) -> None:
    """Requests of one topic share theirs; the vectors are those of the text, and references see both."""
    world, plain = (load_world("made-up-clear", WorldOptions(system_prompts=name)) for name in (variant, "none"))
    assert plain.traits is not None
    assert world.traits is not None
    assert all(len(shape) == 1 and {*shape} < {*both} for shape, both in zip(plain.traits, world.traits, strict=True))
    assert (world.vectors == plain.vectors).all()
    dimension = world.vectors.shape[1] + FIGURES
    assert not plain.kind_vectors[:, dimension:].any()
    assert np.linalg.norm(world.kind_vectors, axis=1) == pytest.approx(1)
    traits = 2 * world.kind_vectors[:, dimension:] @ world.kind_vectors[:, dimension:].T
    tasks = np.array(world.outcomes.tasks)
    alike = tasks[:, None] == tasks
    assert traits[alike].mean() >= own - 1e-6
    assert traits[~alike].max() <= others + 1e-6
    assert (traits[alike].min() > 1 - 1e-6) == (variant != "varied")


def test_system_prompts_need_a_made_up_set(recorded: Outcomes) -> None:
    """Recorded prompts have none."""
    with pytest.raises(ValueError, match="made-up-clear"):
        load_world("folder", WorldOptions(system_prompts="topic"))


@dataclass
class Watched:
    """A policy that keeps how many neighbours each request had."""

    policy: Any
    found: list[int]
    name: str = "watched"

    def fit(self, *parts: Any) -> Any:
        return self.policy.fit(*parts)

    def decide(self, posterior: Any, context: Any, *rest: Any) -> Any:
        self.found.append(len(context.neighbours))
        return self.policy.decide(posterior, context, *rest)


@pytest.mark.parametrize("apart", [True, False])
def test_neighbours_are_searched_by_the_users_text(recorded: Outcomes, *, apart: bool) -> None:
    """Texts that have nothing in common are no neighbours, however alike the rest of the request is."""
    settings = BanditSettings()
    policy = Watched(build_policy(settings), [])
    alike = np.zeros((len(recorded), 4), dtype=np.float32)
    alike[:, 0] = 1
    vectors = vectors_of(recorded.prompts, "", Path()) if apart else alike
    stream = make_stream(recorded, Condition(requests=40), 0)
    ProductPlayer(policy, settings, recorded, vectors, 0, traits=[("image",)] * len(recorded)).play(stream)
    assert (max(policy.found) == 0) == apart
