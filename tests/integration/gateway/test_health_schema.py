"""`/health` matches its schema for every caller and in every state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.gateway.http.openapi_document import document
from shared.errors import UpstreamError
from tests.integration.gateway.test_access import ADMIN, CHAT, USER, bearer
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import BODY, ask, serving


def described() -> dict[str, Any]:
    answer = document("1")["paths"]["/health"]["get"]["responses"]["200"]
    schema: dict[str, Any] = answer["content"]["application/json"]["schema"]
    return schema


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, without room for what it does not describe."""
    inner = {name: closed(each) for name, each in schema.get("properties", {}).items()}
    tight = {**schema, "properties": inner} if inner else dict(schema)
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict):
        tight["additionalProperties"] = closed(rest)
    elif schema.get("type") == "object":
        tight["additionalProperties"] = False
    if "items" in schema:
        tight["items"] = closed(schema["items"])
    return tight


@pytest.mark.parametrize("trouble", ["none", "redis", "models"])
async def test_the_report_fits_its_schema_for_every_role(tmp_path: Path, trouble: str) -> None:
    """Strangers, users and operators; every field that operators see is described."""
    changes = {"EXPLORATION_BUDGET_USD": "1", "DEFAULT_MODEL": "gone/model"} if trouble == "models" else {}
    for keys in ({}, {"API_KEYS": USER}, {"API_KEYS": USER, "ADMIN_API_KEYS": ADMIN}):
        world = World(settings_for(tmp_path, **keys, **changes))
        if trouble == "models":
            world.upstream.tell("a/small", Reply(error=UpstreamError("no", status=429, cool_s=30.0)))
        async with serving(world) as client:
            if trouble == "models":
                await ask(client, CHAT, {**BODY, "model": "a/small"}, **bearer(USER))
            world.memory.away = trouble == "redis"
            seen = set()
            for key in (None, "nobody", USER, ADMIN):
                status, report, _ = await ask(client, "/health", **bearer(key))
                assert status == 200
                assert faults(report, closed(described())) == []
                seen.add(frozenset(report))
            assert {"status"} in seen or not keys
            assert set(described()["properties"]) in seen, "somebody sees all of it"
            world.memory.away = False


async def test_a_part_that_answers_nonsense_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report goes on: a liveness probe on it must not end a gateway that serves."""
    world = World(settings_for(tmp_path))
    monkeypatch.setattr("tests.support.fakes.gateway._version", nonsense)
    async with serving(world) as client:
        status, report, _ = await ask(client, "/health")
        assert status == 200
        assert faults(report, closed(described())) == []
        redis = report["parts"]["redis"]
        assert (redis["status"], redis["detail"]) == ("down", "its answer cannot be read")


async def nonsense() -> str:
    raise AttributeError("'int' object has no attribute 'splitlines'")


def test_the_checker_tells_right_from_wrong() -> None:
    """A missing field, a wrong type, a value outside its list, and something that is not described."""
    good: dict[str, Any] = {"status": "ok", "draining": False, "unlisted": ["a"], "parts": {}}
    assert faults(good, closed(described())) == []
    wrong: tuple[dict[str, Any], ...] = (
        {"draining": 1},
        {"status": "fine"},
        {"unlisted": [1]},
        {"parts": {"x": {}}},
        {"new": 1},
    )
    for bad in wrong:
        assert faults({**good, **bad}, closed(described())), bad
    assert faults({}, described()) == ["$: status is missing"]
