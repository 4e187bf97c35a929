"""`GET /stats` and `GET /spend`: steps, access, CSV, wrong parameters."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from services.gateway.http.openapi_views import SPEND, STATS
from shared.clock import utc_day
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.integration.gateway.test_request_list import KEYS, OTHER, owner_of
from tests.integration.gateway.test_shown_kinds import ADMIN, USER
from tests.support.fakes.gateway import World, settings_for
from tests.support.fakes.memory import Memory
from tests.support.fakes.traffic import FakeTraffic
from tests.support.json_schema import faults
from tests.support.sample_records import a_new_record
from tests.support.served_gateway import BODY, Client, ask, serving
from tests.support.values import replace


class StoringTraffic(FakeTraffic):
    """Counts the calls of `store`."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.stored, self.twice = 0, asyncio.Event()

    async def store(self) -> None:
        self.stored += 1
        if self.stored == 2:
            self.twice.set()


class StoringWorld(World):
    """Has one `Traffic` for all of its gateways."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.traffic = StoringTraffic(self.memory)

    @property
    def adapters(self) -> Any:
        return replace(super().adapters, traffic=self.traffic)


async def stats(client: Client, **query: int) -> dict[str, Any]:
    status, content, _ = await ask(client, f"/stats?{urlencode(query)}")
    assert status == 200, content
    return dict(content)


async def test_a_chat_and_its_rating_are_in_the_figures(tmp_path: Path) -> None:
    """Of all traffic, of its model, and in the step of its time; the answer keeps to the contract."""
    world = World(settings_for(tmp_path / "spool"))
    async with serving(world) as client:
        await ask(client, "/v1/chat/completions", BODY, **{"X-Request-ID": "mine"})
        await ask(client, "/feedback", {"request_id": "mine", "score": 0.25})
        _, record, _ = await ask(client, "/metrics/mine")
        found = await stats(client)
    assert faults(found, closed(STATS)) == []
    assert (found["step_s"], len(found["data"]), found["to"] - found["from"]) == (60, 60, 3600)
    assert found["to"] - 60 <= world.clock.now() < found["to"]
    assert [point["at"] for point in found["data"][:2]] == [found["from"], found["from"] + 60]
    for figures in (found["total"], found["arms"][record["model"]], found["data"][-1]["total"]):
        assert (figures["requests"], figures["prompt_tokens"]) == (1, record["tokens"]["prompt"])
        assert figures["scores"] == {"user": {"count": 1, "mean": 0.25}}
        assert figures["cost_usd"] == pytest.approx(record["cost_usd"])
    assert all(point["total"]["requests"] == 0 and point["arms"] == {} for point in found["data"][:-1])


async def test_steps_partition_the_time(tmp_path: Path) -> None:
    """Every request is in one step, by the minute and by the hour; those before are in none."""
    world = World(settings_for(tmp_path / "spool"))
    now = world.clock.now()
    ages_min = (0, 1, 7, 59, 61, 150, 1500)
    await world.log.record([a_new_record(now - 60 * age) for age in ages_min])
    async with serving(world) as client:
        for query in ({"minutes": 60, "step": 7}, {"minutes": 240, "step": 60}, {"minutes": 1440, "step": 1},
                      {"minutes": 3000}):  # fmt: skip
            found = await stats(client, **query)
            ends = [(point["at"], point["at"] + found["step_s"]) for point in found["data"]]
            counts = [sum(low <= now - 60 * age < high for age in ages_min) for low, high in ends]
            assert [point["total"]["requests"] for point in found["data"]] == counts
            assert found["total"]["requests"] == sum(counts)
            assert found["from"] <= now - 60 * query["minutes"] + found["step_s"]
            assert ends[-1][0] <= now < ends[-1][1]


async def test_spending_is_shown_to_its_key_and_to_admins(tmp_path: Path) -> None:
    """By day, today first; as JSON, or as CSV with the same rows."""
    world = World(settings_for(tmp_path / "spool", **KEYS))
    now, mine, other = world.clock.now(), owner_of(USER), owner_of(OTHER)
    await world.log.record([
        a_new_record(now, owner=mine), a_new_record(now, owner=mine), a_new_record(now, owner=other),
        a_new_record(now - 86_400, owner=mine), a_new_record(now - 9 * 86_400, owner=mine),
    ])  # fmt: skip
    today, yesterday = utc_day(now), utc_day(now - 86_400)
    async with serving(world) as client:
        _, content, _ = await ask(client, "/spend", **bearer(USER))
        assert faults(content, closed(SPEND)) == []
        assert [(row["day"], row["owner"], row["requests"]) for row in content["data"]] == [
            (today, mine, 2), (yesterday, mine, 1),
        ]  # fmt: skip
        assert content["data"][0]["cost_usd"] == 0.004
        _, content, _ = await ask(client, "/spend?days=1", **bearer(ADMIN))
        assert {row["owner"]: row["requests"] for row in content["data"]} == {mine: 2, other: 1}
        _, text, headers = await ask(client, "/spend?days=1", Accept="text/csv", **bearer(ADMIN))
        assert headers["Content-Type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert rows == [
            {name: str(value) for name, value in row.items() if name != "object"} for row in content["data"]
        ]
        assert (await ask(client, "/spend"))[0] == 401


async def test_spending_names_the_limits_of_each_key(tmp_path: Path) -> None:
    """As they are in effect: of the key where KEY_LIMITS names it, else of all; null where there is none."""
    mine, other = owner_of(USER), owner_of(OTHER)
    limits = {"RATE_LIMIT_RPM": 60, "KEY_LIMITS": f"{mine[:8]}:rpm=0:usd=2.5"}
    world = World(settings_for(tmp_path / "spool", **KEYS, **limits))
    await world.log.record([a_new_record(world.clock.now(), owner=owner) for owner in (mine, other)])
    async with serving(world) as client:
        _, content, _ = await ask(client, "/spend?days=1", **bearer(ADMIN))
    assert content["limits"] == {
        mine: {"requests_per_minute": None, "tokens_per_minute": None, "usd_per_day": 2.5},
        other: {"requests_per_minute": 60, "tokens_per_minute": None, "usd_per_day": None},
    }


@pytest.mark.parametrize("path", ["/stats", "/v1/stats"])
async def test_figures_of_all_traffic_are_for_operators(tmp_path: Path, path: str) -> None:
    """With admin keys, a user's key sees its own spending only."""
    async with serving(World(settings_for(tmp_path / "spool", **KEYS))) as client:
        assert (await ask(client, path, **bearer(ADMIN)))[0] == 200
        status, content, _ = await ask(client, path, **bearer(USER))
    assert (status, content["error"]["code"]) == (403, "admin_key_required")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/stats?minutes=0", "minutes"), ("/stats?minutes=x", "minutes"), ("/stats?step=0", "step"),
        ("/stats?minutes=1441&step=1", "step"), ("/stats?minutes=2000&step=90", "step"), ("/stats?hours=1", "hours"),
        ("/spend?days=0", "days"), ("/spend?days=31", "days"), ("/spend?day=1", "day"),
    ],
)  # fmt: skip
async def test_wrong_parameters_are_refused(tmp_path: Path, path: str, param: str) -> None:
    """With the name of the parameter."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        status, content, _ = await ask(client, path)
    assert (status, content["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/stats", "/spend"])
async def test_without_redis_the_answer_is_503(tmp_path: Path, path: str) -> None:
    """With the code of records that cannot be read."""
    world = World(settings_for(tmp_path / "spool"))
    async with serving(world) as client:
        world.memory.away = True
        status, content, _ = await ask(client, path)
    assert (status, content["error"]["code"]) == (503, "records_unavailable")


async def test_figures_are_stored_in_the_background_and_at_the_end(tmp_path: Path) -> None:
    """Also where no client looks at them: the last ones when the gateway stops."""
    world = StoringWorld(settings_for(tmp_path / "spool"))
    async with serving(world):
        async with asyncio.timeout(10):
            await world.traffic.twice.wait()
        before = world.traffic.stored
    assert world.traffic.stored > before
