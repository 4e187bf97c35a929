"""`GET /posteriors`: what was believed over time; stored in the background."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.gateway.http.openapi_views import POSTERIORS
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.integration.gateway.test_request_list import KEYS
from tests.integration.gateway.test_shown_kinds import ADMIN, USER
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving

SHOWN = ("quality", "quality_low", "quality_high", "labels")


async def test_the_present_is_stored_without_a_request(tmp_path: Path) -> None:
    """What `/arms` shows is in the last step within seconds, with every model; earlier steps are empty."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        for _ in range(100):
            _, content, _ = await ask(client, "/posteriors?minutes=30&step=15")
            if content["data"][-1]["arms"]:
                break
            await asyncio.sleep(0.1)
        arms = (await ask(client, "/arms"))[1]["data"]
    assert faults(content, closed(POSTERIORS)) == []
    assert (content["step_s"], content["to"] - content["from"], len(content["data"])) == (900, 1800, 2)
    assert content["data"][0]["arms"] == {}
    assert content["data"][1]["arms"] == {
        arm["arm"]: {name: pytest.approx(arm[name], abs=1e-5) for name in SHOWN} for arm in arms
    }


async def test_they_are_for_operators_and_refuse_wrong_times(tmp_path: Path) -> None:
    """As figures of all traffic; without Redis the answer is 503."""
    world = World(settings_for(tmp_path / "spool", **KEYS))
    async with serving(world) as client:
        status, content, _ = await ask(client, "/posteriors", **bearer(USER))
        assert (status, content["error"]["code"]) == (403, "admin_key_required")
        status, content, _ = await ask(client, "/posteriors?minutes=1441&step=1", **bearer(ADMIN))
        assert (status, content["error"]["param"]) == (400, "step")
        world.memory.away = True
        status, content, _ = await ask(client, "/v1/posteriors", **bearer(ADMIN))
        assert (status, content["error"]["code"]) == (503, "records_unavailable")
