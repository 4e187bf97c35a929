"""The report of `/health`: how often parts are probed, dead letters, and the default model's price."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.app import build_health
from services.gateway.process.health import KEEP_S, Readiness
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import DeadLetter
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, settings_for


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A gateway's surroundings where no time passes by itself."""
    return World(settings_for(tmp_path / "spool"), clock=FakeClock())


async def test_parts_are_probed_once_a_second_however_often_the_report_is_read(world: World) -> None:
    """Load balancers and people that poll do not become load on the dependencies."""
    probed = 0

    async def version() -> str:
        nonlocal probed
        probed += 1
        return "8"

    async with world.gateway() as gateway:
        adapters = world.adapters
        object.__setattr__(adapters, "redis_version", version)
        health = build_health(gateway, adapters, Readiness())
        for _ in range(5):
            await health.report()
        within = probed
        world.clock.advance(KEEP_S)
        await health.report()
    assert (within, probed) == (1, 2)


async def test_a_dead_letter_degrades_the_queue(world: World) -> None:
    """An operator has to look at it: nothing else does."""
    async with world.gateway() as gateway:
        for dead, status in ((False, "ok"), (True, "degraded")):
            if dead:
                event = Event("1-0", EventKind.OUTCOME, "an-id", 1)
                world.memory.dead["1-0"] = DeadLetter(event, "it cannot be read")
            report = await build_health(gateway, world.adapters, Readiness()).report()
            assert report["parts"]["queue"]["status"] == status


async def test_the_prices_of_the_default_model_are_shown(world: World) -> None:
    """USD per million tokens, of the prompt and of the answer."""
    async with world.gateway() as gateway:
        shown = (await build_health(gateway, world.adapters, Readiness()).report())["default_model"]
    assert shown["used"] == "d/spare"
    assert [shown[f"usd_per_million_{kind}_tokens"] for kind in ("prompt", "completion")] == [1.0, 2.0]
