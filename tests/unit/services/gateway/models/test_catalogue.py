"""The upstream's list of models: when it is read again, and an upstream that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.models import catalogue as module
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.model_lists import MAX_RETRY_S, REFRESH_S, UpstreamList
from shared.bandit.arms import Arm
from shared.errors import NotFound, UpstreamError
from tests.support.fakes.chat_model import FakeChatModel, Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, chat, lists_of, new_request, settings_for
from tests.support.fakes.use_cases import complete, route


class Counting(FakeChatModel):
    """Counts how often it is asked for its models."""

    asked = 0

    async def catalogue(self) -> tuple[Arm, ...]:
        self.asked += 1
        return await super().catalogue()


def listed(catalogue: Catalogue) -> UpstreamList:
    """Return the list of the only upstream."""
    return catalogue.lists.of("v/a")


def failing(status: int | None) -> Reply:
    return Reply(error=UpstreamError("no list", status=status))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def upstream() -> Counting:
    return Counting((Arm("v/a"), Arm("v/b")))


@pytest.fixture
def catalogue(upstream: Counting, clock: FakeClock) -> Catalogue:
    return Catalogue(lists_of(upstream, clock), models=("v/a", "v/b"), default="v/a")


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_upstream_without_a_list_is_well(
    catalogue: Catalogue, upstream: Counting, clock: FakeClock, status: int
) -> None:
    """The settings are believed, any model may be named, and it is asked for its list as seldom as any other."""
    upstream.default = failing(status)
    await catalogue.refresh()
    assert (listed(catalogue).has_list, catalogue.lists.error, catalogue.lists.age_s) == (False, None, 0.0)
    assert catalogue.arm_ids == ("v/a", "v/b")
    assert catalogue.default == "v/a"
    assert catalogue.pin("any/other") == "any/other"
    with pytest.raises(NotFound):
        catalogue.pin("a name with blanks")
    for _ in range(3):
        clock.advance(REFRESH_S / 3 - 1)
        await catalogue.refresh_if_due()
    assert upstream.asked == 1
    clock.advance(3)
    upstream.default = Reply()
    await catalogue.refresh_if_due()
    assert listed(catalogue).has_list
    with pytest.raises(NotFound):
        catalogue.pin("any/other")


async def test_names_without_a_list_are_bounded(
    catalogue: Catalogue, upstream: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Circuits and beliefs are kept by model: a client cannot make any number of them."""
    monkeypatch.setattr(module, "MAX_UNLISTED", 2)
    upstream.default = failing(404)
    await catalogue.refresh()
    assert [catalogue.pin(name) for name in ("x/1", "x/2", "x/1", "v/b")] == ["x/1", "x/2", "x/1", "v/b"]
    with pytest.raises(NotFound):
        catalogue.pin("x/3")


async def test_a_list_that_was_read_is_not_given_up(catalogue: Catalogue, upstream: Counting) -> None:
    """A 404 later is a failure: what was known stays."""
    await catalogue.refresh()
    upstream.default = failing(404)
    with pytest.raises(UpstreamError):
        await catalogue.refresh()
    assert listed(catalogue).has_list
    assert [arm.id for arm in listed(catalogue).arms] == ["v/a", "v/b"]
    assert catalogue.lists.error == "no list"


async def test_a_list_that_fails_is_retried_with_back_off(
    catalogue: Catalogue, upstream: Counting, clock: FakeClock
) -> None:
    """After 2, 4, 8 ... 60 s; a success makes the next pause short again."""
    upstream.default = failing(500)
    asked_at: list[float] = []
    for second in range(200):
        before = upstream.asked
        with pytest.raises(UpstreamError, match="no list"):
            await catalogue.refresh_if_due()
        if upstream.asked > before:
            asked_at.append(second)
        clock.advance(1)
    assert asked_at == [0, 2, 6, 14, 30, 62, 122, 182]
    assert MAX_RETRY_S == 60
    upstream.default = Reply()
    clock.advance(60)
    await catalogue.refresh_if_due()
    assert catalogue.lists.error is None
    upstream.default = failing(500)
    clock.advance(REFRESH_S)
    for wait_s in (0, 2):
        clock.advance(wait_s)
        with pytest.raises(UpstreamError):
            await catalogue.refresh_if_due()
    assert upstream.asked == len(asked_at) + 3


async def test_models_may_be_named_before_the_list_is_read(catalogue: Catalogue, upstream: Counting) -> None:
    """Nothing says yet that a model does not exist, so the upstream is asked; once the list is read, it says so."""
    upstream.default = failing(500)
    with pytest.raises(UpstreamError):
        await catalogue.refresh()
    assert catalogue.pin("any/other") == "any/other"
    assert catalogue.narrow(["any/other", "v/b"]) == ("v/b",)
    with pytest.raises(NotFound, match="None of the models"):
        catalogue.narrow(["any/other"])
    upstream.default = Reply()
    await catalogue.refresh()
    with pytest.raises(NotFound):
        catalogue.pin("any/other")
    with pytest.raises(NotFound, match="any/other does not exist"):
        catalogue.narrow(["any/other", "v/b"])


async def test_a_named_model_is_called_before_the_list_is_read(tmp_path: Path) -> None:
    """A gateway whose upstream gives no list for the moment calls what the client names."""
    world = World(settings_for(tmp_path))
    async with world.gateway(refreshed=False) as gateway:
        plan = await route(chat(model="any/other"), new_request(), gateway)
        assert (await complete(plan, gateway)).served.outcome.arm == "any/other"
