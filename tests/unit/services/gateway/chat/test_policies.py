"""Policies of MODELS_FILE: arms, default, exploration, margin and required capabilities of one decision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import Gateway
from services.gateway.chat.selection import Choice
from shared.errors import NotFound, Unavailable
from shared.models_file import Policy
from shared.models_file.schema import PolicyWeights
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import consider

POLICIES = {
    "team": Policy(arms=("a/small", "b/middle"), weights=PolicyWeights(quality=0.9)),
    "still": Policy(exploration=0.0),
    "wild": Policy(exploration=1.0),
    "safe": Policy(arms=("a/small",), default="c/large"),
    "gone": Policy(arms=("x/gone",)),
    "cheap": Policy(arms=("c/large",)),
}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with World(settings_for(tmp_path)).gateway() as gateway:
        gateway.selector.policies = lambda: POLICIES
        yield gateway


async def by(gateway: Gateway, policy: str, **fields: Any) -> Choice:
    return await consider(chat(model=f"auto:{policy}", **fields), new_request(), gateway)


async def test_a_policy_narrows_the_arms_and_sets_weights(gateway: Gateway) -> None:
    """No other arm answers, also not as a fallback; a weight that it leaves out is the setting's."""
    choice = await by(gateway, "team")
    assert set(choice.order) == {"a/small", "b/middle"}
    assert choice.decision.weights is not None
    assert (choice.decision.weights.quality, choice.decision.weights.latency) == (0.9, 0.2)
    assert choice.decision.terms == "team"


async def test_the_clients_models_narrow_a_policy_further(gateway: Gateway) -> None:
    """Both must allow an arm."""
    assert set((await by(gateway, "team", models=["b/middle", "c/large"])).order) == {"b/middle"}
    with pytest.raises(NotFound):
        await by(gateway, "team", models=["c/large"])


async def test_a_policy_without_exploration_follows_the_best(gateway: Gateway) -> None:
    """With certainty."""
    choice = await by(gateway, "still")
    assert (choice.decision.exploration, choice.decision.propensity) == ("off", 1.0)


async def test_a_policy_may_explore_more(gateway: Gateway) -> None:
    """The draws are wider, for this request alone."""
    usual = (await consider(chat(), new_request(), gateway)).decision
    wild = (await by(gateway, "wild")).decision
    after = (await consider(chat(), new_request(), gateway)).decision
    sds = [{view.arm: view.draw_sd for view in one.views} for one in (usual, wild, after)]
    assert all(sds[1][arm] > 2 * sd for arm, sd in sds[0].items())
    assert sds[2] == sds[0]


async def test_a_policy_has_a_default_of_its_own(gateway: Gateway) -> None:
    """It is the last resort, although it is not among the arms."""
    assert (await by(gateway, "safe")).order == ("a/small", "c/large")


async def test_the_default_of_a_policy_may_have_a_short_name(tmp_path: Path) -> None:
    """It is what SAFE_START keeps to, as with DEFAULT_MODEL."""
    async with World(settings_for(tmp_path, SAFE_START=True)).gateway() as gateway:
        gateway.selector.policies = lambda: {"own": Policy(default="large")}
        assert (await consider(chat(), new_request(), gateway)).decision.arm == "d/spare"
        assert (await by(gateway, "own")).decision.arm == "c/large"


async def test_a_policy_whose_models_are_gone_says_so(gateway: Gateway) -> None:
    """The request is right, so it is no 404: the operator has to act."""
    with pytest.raises(Unavailable, match="policy"):
        await by(gateway, "gone")


async def test_a_policy_goes_before_a_preset_of_its_name(gateway: Gateway) -> None:
    """The operator's word counts."""
    assert (await by(gateway, "cheap")).order[0] == "c/large"
