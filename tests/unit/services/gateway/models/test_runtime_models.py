"""Models added and removed at run time, on top of LLM_MODELS, for all gateways of one Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.gateway.app import Gateway
from shared.bandit.arms import Arm, ArmId
from shared.clock import utc_day
from shared.errors import ClientError, Conflict, CorruptState, InvalidRequest, NotFound, Unavailable
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

ME = "0123456789abcdef"


async def add(gateway: Gateway, name: str) -> None:
    await gateway.runtime_models.change(name, wanted=True, by=ME)
    await gateway.posteriors.refresh()


async def remove(gateway: Gateway, name: str) -> None:
    await gateway.runtime_models.change(name, wanted=False, by=ME)
    await gateway.posteriors.refresh()


async def first_choices(gateway: Gateway, count: int = 60) -> set[ArmId]:
    """Return the arms that were chosen first in as many requests."""
    return {(await route(chat(), new_request(), gateway)).order[0] for _ in range(count)}


async def test_an_added_model_is_weighed_and_a_removed_one_is_not(world: World) -> None:
    """From the next request on; twice the same is once."""
    async with world.gateway() as gateway:
        for _ in range(2):
            await add(gateway, "d/spare")
            await remove(gateway, "a/small")
        assert gateway.runtime_models.view() == {
            "arms": ("b/middle", "c/large", "d/spare"),
            "added": ("d/spare",),
            "removed": ("a/small",),
        }
        decision = (await route(chat(), new_request(), gateway)).decision
        assert {view.arm for view in decision.views} == {"b/middle", "c/large", "d/spare"}
        assert await first_choices(gateway) <= {"b/middle", "c/large", "d/spare"}
        assert gateway.catalogue.label("a/small") == "other"
        assert (await route(chat(model="a/small"), new_request(), gateway)).order[0] == "a/small", (
            "a pin is still allowed"
        )
        with pytest.raises(NotFound):
            await route(chat(models=["a/small"]), new_request(), gateway)


async def test_a_removed_model_is_not_chosen_even_before_the_next_fit(world: World) -> None:
    """What was fitted with it is asked about those that are left alone; a new one waits for its fit."""
    async with world.gateway() as gateway:
        await gateway.runtime_models.change("c/large", wanted=False, by=ME)
        await gateway.runtime_models.change("d/spare", wanted=True, by=ME)
        assert await first_choices(gateway) <= {"a/small", "b/middle"}


async def test_what_was_learned_comes_back_with_a_model(world: World) -> None:
    """Taking a model out touches no sum; a new one starts from the prior."""
    world.memory.sums["a/small", utc_day(world.clock.now())] = Counter(requests=7)
    async with world.gateway() as gateway:
        before = gateway.posteriors.snapshot
        assert before is not None
        await remove(gateway, "a/small")
        await add(gateway, "a/small")
        after = gateway.posteriors.snapshot
        assert after is not None
        summaries = {snapshot: {one.arm: one for one in snapshot.posterior.summary()} for snapshot in (before, after)}
        assert summaries[after]["a/small"] == summaries[before]["a/small"]
        assert summaries[after]["a/small"].requests == pytest.approx(7)


async def test_other_gateways_and_later_processes_take_it_over(world: World, tmp_path: Path) -> None:
    """The second gateway with its next reading, a new process with its first."""
    other = World(settings_for(tmp_path / "other"), clock=world.clock)
    other.memory, other.arm_changes = world.memory, world.arm_changes
    async with world.gateway() as one, other.gateway() as two:
        await add(one, "d/spare")
        await two.runtime_models.refresh()
        assert two.catalogue.arm_ids == one.catalogue.arm_ids
        await remove(two, "a/small")
        await one.runtime_models.refresh()
        assert list(one.catalogue.arm_ids) == ["b/middle", "c/large", "d/spare"]
    async with world.gateway() as again:
        await again.runtime_models.refresh()
        assert list(again.catalogue.arm_ids) == ["b/middle", "c/large", "d/spare"]


async def test_the_last_model_cannot_be_taken_out(world: World) -> None:
    """Neither as this gateway sees it nor as another one has left it; what is not among them may always go."""
    async with world.gateway() as gateway:
        await remove(gateway, "a/small")
        await world.arm_changes.remove("b/middle", ["c/large"])
        with pytest.raises(Conflict) as caught:
            await remove(gateway, "c/large")
        assert (caught.value.code, caught.value.param) == ("last_arm", "arm")
        await remove(gateway, "d/spare")
        assert list(gateway.catalogue.arm_ids) == ["c/large"]


@pytest.mark.parametrize(
    ("name", "error", "code"),
    [
        ("x/unknown", NotFound, "model_not_found"),
        ("a b", InvalidRequest, "invalid_value"),
        ("x" * 257, InvalidRequest, "invalid_value"),
        ("a\x00", InvalidRequest, "invalid_value"),
        ("modèle", InvalidRequest, "invalid_value"),
        ("auto", InvalidRequest, "invalid_value"),
        ("free", InvalidRequest, "invalid_value"),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
async def test_what_is_no_model_is_refused(
    world: World, wanted: bool, name: str, error: type[ClientError], code: str
) -> None:
    """An unknown one is 404, what cannot be a name 400; nothing is stored."""
    async with world.gateway() as gateway:
        with pytest.raises(error) as caught:
            await gateway.runtime_models.change(name, wanted=wanted, by=ME)
        assert (caught.value.code, caught.value.param) == (code, "arm")
        assert not world.memory.arms


async def test_a_short_name_means_the_only_model_that_has_it(world: World) -> None:
    """As it does in a chat request; said while the upstream's list was unknown, the id's own word goes before it."""
    async with world.gateway() as gateway:
        await add(gateway, "spare")
        assert world.memory.arms == {"d/spare": True}
    world.memory.arms.clear()
    async with world.gateway(refreshed=False) as gateway:
        await gateway.runtime_models.change("spare", wanted=True, by=ME)
        assert gateway.catalogue.arm_ids[-1] == "spare"
        await gateway.catalogue.refresh()
        assert gateway.catalogue.arm_ids[-1] == "d/spare"
        await gateway.runtime_models.change("d/spare", wanted=False, by=ME)
        assert "d/spare" not in gateway.catalogue.arm_ids


async def test_a_model_that_the_upstream_gives_up_is_left_out_and_can_be_taken_out(world: World) -> None:
    """It is not chosen while it is gone, and comes back with the upstream's list, unless it was taken out meanwhile."""
    async with world.gateway() as gateway:
        for name in ("d/spare", "a/small"):
            await add(gateway, name)
        world.upstream.arms = ARMS[1:3]
        await gateway.catalogue.refresh()
        assert list(gateway.catalogue.arm_ids) == ["b/middle", "c/large"]
        assert gateway.catalogue.added == gateway.catalogue.removed == ()
        await remove(gateway, "d/spare")
        world.upstream.arms = ARMS
        await gateway.catalogue.refresh()
        assert list(gateway.catalogue.arm_ids) == ["a/small", "b/middle", "c/large"]


async def test_a_list_that_leaves_no_arm_is_not_followed(world: World) -> None:
    """LLM_MODELS may have shrunk to arms that were removed before: serving them beats serving none."""
    async with world.gateway() as gateway:
        world.memory.arms.update({"a/small": False, "b/middle": False, "c/large": False})
        await gateway.runtime_models.refresh()
        assert list(gateway.catalogue.arm_ids) == ["a/small", "b/middle", "c/large"]
        world.memory.arms["d/spare"] = True
        await gateway.runtime_models.refresh()
        assert list(gateway.catalogue.arm_ids) == ["d/spare"]


async def test_while_redis_is_away_nothing_changes(world: World) -> None:
    """503 for a change, which is never half done; the last known list stays in use."""
    async with world.gateway() as gateway:
        await add(gateway, "d/spare")
        world.memory.away = True
        for wanted in (True, False):
            with pytest.raises(Unavailable) as caught:
                await gateway.runtime_models.change("a/small", wanted=wanted, by=ME)
            assert caught.value.code == "dependency_unavailable"
        assert list(gateway.catalogue.arm_ids) == ["a/small", "b/middle", "c/large", "d/spare"]
        world.memory.away = False


async def test_a_damaged_list_is_refused_and_the_last_good_one_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept in Redis is input: an alarm is raised, /health says so, and nothing is changed on top of it."""
    async with world.gateway() as gateway:
        await add(gateway, "d/spare")

        async def damaged() -> Mapping[ArmId, bool]:
            raise CorruptState("a field that is not a model and 1 or 0")

        monkeypatch.setattr(world.arm_changes, "read", damaged)
        with pytest.raises(CorruptState):
            await gateway.runtime_models.refresh()
        with pytest.raises(Unavailable):
            await gateway.runtime_models.change("a/small", wanted=False, by=ME)
        assert gateway.runtime_models.refused
        assert world.counted("snapshot_refused") == 2
        assert list(gateway.catalogue.arm_ids) == ["a/small", "b/middle", "c/large", "d/spare"]
        monkeypatch.undo()
        await gateway.runtime_models.refresh()
        assert gateway.runtime_models.refused is None


async def test_a_conversation_moves_on_from_a_model_that_is_taken_out(world: World) -> None:
    """It is held no more, and stays with the next one; it may not come back by itself."""
    world.settings = world.settings.model_copy(update={"SESSION_MARGIN": 2.0})
    async with world.gateway() as gateway:
        talk = "hash of a conversation"
        first = (await complete(await route(chat(), new_request(session=talk), gateway), gateway)).served.outcome.arm
        assert (await route(chat(), new_request(session=talk), gateway)).decision.session
        await remove(gateway, first)
        moved = await route(chat(), new_request(session=talk), gateway)
        assert not moved.decision.session
        assert first not in moved.order


async def test_the_default_model_keeps_its_own_rules(world: World) -> None:
    """Removed from the candidates, it still answers where no other arm does."""
    async with world.gateway() as gateway:
        await add(gateway, "d/spare")
        await remove(gateway, "d/spare")
        assert gateway.catalogue.default == "d/spare"
        assert (await route(chat(), new_request(), gateway)).order[-1] == "d/spare"


async def test_an_upstream_without_a_list_is_no_reason_to_refuse(world: World) -> None:
    """A name is then believed as LLM_MODELS is."""
    async with world.gateway(refreshed=False) as gateway:
        await add(gateway, "x/new")
        await remove(gateway, "a/small")
        assert gateway.catalogue.arms == tuple(
            Arm(name, upstream="openrouter") for name in ("b/middle", "c/large", "x/new")
        )
