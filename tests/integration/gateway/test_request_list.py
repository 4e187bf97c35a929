"""`GET /requests`: pages, filters, and who may see what."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from services.gateway.http.auth import OWNER_DIGITS, digest_of
from services.gateway.http.openapi_views import LISTED
from shared.schemas.ids import session_hash
from shared.schemas.records import Status
from shared.schemas.storage import Assignment
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.integration.gateway.test_shown_kinds import ADMIN, USER, FakePrompts, TaughtWorld
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.sample_records import a_new_record
from tests.support.served_gateway import BODY, ask, serving
from tests.support.values import replace

OTHER = "other-key-of-many-letters"
KEYS = {"API_KEYS": f"{USER},{OTHER}", "ADMIN_API_KEYS": ADMIN}


def owner_of(key: str) -> str:
    return digest_of(key)[:OWNER_DIGITS]


async def listed(client: aiohttp.ClientSession, key: str = "", **query: object) -> dict[str, Any]:
    """Return the answer to a query that must succeed."""
    status, content, _ = await ask(client, f"/requests?{urlencode(query)}", **(bearer(key) if key else {}))
    assert status == 200, content
    return dict(content)


def ids(content: dict[str, Any]) -> list[str]:
    return [item["id"] for item in content["data"]]


async def store(world: World, **facts: Any) -> str:
    """Store a request a second after the last; return its own id."""
    world.clock.advance(1)
    session = facts.pop("session", None)
    entry = a_new_record(world.clock.now(), **facts)
    await world.log.record([replace(entry, record=replace(entry.record, session=session))])
    return entry.record.id


async def test_a_chat_is_listed_with_its_figures(tmp_path: Path) -> None:
    """The item agrees with the record and its numbers, and with the contract."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        await ask(client, "/v1/chat/completions", BODY, **{"X-Request-ID": "mine"})
        await ask(client, "/feedback", {"request_id": "mine", "score": 0.25})
        content = await listed(client)
        (item,) = content["data"]
        _, record, _ = await ask(client, "/requests/mine")
        _, numbers, _ = await ask(client, "/metrics/mine")
    assert faults(content, closed(LISTED)) == []
    assert (content["next"], content["prompts"]) == (None, "not_stored")
    assert {name: item[name] for name in numbers} == numbers
    assert {name: item[name] for name in ("id", "created_at", "session", "requested_model")} == {
        name: record[name] for name in ("id", "created_at", "session", "requested_model")
    }
    assert item["decision"] == {
        "explored": record["decision"]["explored"],
        **{name: record["decision"][name] for name in item["decision"] if name != "explored"},
    }
    assert (item["scores"], item["attempts"], item["owner"], item["prompt"]) == ({"user": 0.25}, 1, "public", None)


@pytest.mark.parametrize("path", ["/requests", "/v1/requests"])
async def test_a_user_sees_its_own_requests_and_an_admin_all(tmp_path: Path, path: str) -> None:
    """Also by `owner`, which is refused for the requests of other keys."""
    world = World(settings_for(tmp_path / "spool", **KEYS))
    mine, other = await store(world, owner=owner_of(USER)), await store(world, owner=owner_of(OTHER))
    async with serving(world) as client:
        for key, query, expected in (
            (USER, "", [mine]),
            (USER, f"?owner={owner_of(USER)}", [mine]),
            (ADMIN, "", [other, mine]),
            (ADMIN, f"?owner={owner_of(OTHER)}", [other]),
            (ADMIN, "?owner=public", []),
        ):
            status, content, _ = await ask(client, path + query, **bearer(key))
            assert (status, ids(content)) == (200, expected)
        status, content, _ = await ask(client, f"{path}?owner={owner_of(OTHER)}", **bearer(USER))
        assert (status, content["error"]["code"]) == (403, "admin_key_required")
        assert (await ask(client, path))[0] == 401


async def test_each_filter_shows_what_it_names(tmp_path: Path) -> None:
    """And filters add up; a conversation is found by its id and by its hash."""
    world = World(settings_for(tmp_path / "spool"))
    failed = await store(world, status=Status.FAILED, arm="a/small")
    talk = await store(world, session=session_hash("talk"), arm="b/middle")
    rated = await store(world, arm="b/middle", cluster=(1, 4))
    await world.log.rate(owner="public", public_id=rated, score=0.0, text=None, now=world.clock.now())
    kind = await store(world, cluster=(1, 4))
    world.memory.stories[kind].assigned = Assignment((1, 5), 9)
    async with serving(world) as client:
        for query, expected in (
            ({}, [kind, rated, talk, failed]),
            ({"status": "failed"}, [failed]),
            ({"arm": "b/middle"}, [rated, talk]),
            ({"rated": 1}, [rated]),
            ({"rated": 0}, [kind, talk, failed]),
            ({"session": "talk"}, [talk]),
            ({"session": session_hash("talk")}, [talk]),
            ({"kind": "1.4"}, [rated]),
            ({"kind": "1.5"}, [kind]),
            ({"arm": "b/middle", "rated": 0}, [talk]),
            ({"arm": "b"}, []),
        ):
            assert ids(await listed(client, **query)) == expected, query


async def test_pages_follow_one_another(tmp_path: Path) -> None:
    """`next` leads through all requests, with and without a filter, and is null on the last page."""
    world = World(settings_for(tmp_path / "spool"))
    own_ids = [await store(world, arm=("a/small", "b/middle")[at % 2]) for at in range(7)][::-1]
    async with serving(world) as client:
        for query, expected in (({}, own_ids), ({"arm": "a/small"}, own_ids[::2])):
            seen, before = list[str](), dict[str, str]()
            for _ in range(4):
                content = await listed(client, limit=2, **query, **before)
                assert 1 <= len(content["data"]) <= 2
                seen += ids(content)
                if content["next"] is None:
                    break
                before = {"before": content["next"]}
            assert (seen, content["next"]) == (expected, None)
        exact = await listed(client, limit=7)
        assert (len(exact["data"]), exact["next"]) == (7, None)


async def test_a_rare_match_needs_several_calls(tmp_path: Path) -> None:
    """One call reads a bounded number of requests; an empty page with `next` is not the end."""
    world = World(settings_for(tmp_path / "spool"))
    rare = await store(world, arm="c/large")
    for _ in range(1000):
        await store(world)
    async with serving(world) as client:
        content = await listed(client, arm="c/large")
        assert content["data"] == []
        content = await listed(client, arm="c/large", before=content["next"])
    assert (ids(content), content["next"]) == ([rare], None)


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "invalid_value", "limit"), ("limit=201", "invalid_value", "limit"),
        ("limit=1&limit=2", "invalid_value", "limit"), ("before=x", "invalid_value", "before"),
        ("status=done", "invalid_value", "status"), ("rated=yes", "invalid_value", "rated"),
        ("kind=7", "invalid_value", "kind"), ("state=failed", "unsupported_parameter", "state"),
    ],
)  # fmt: skip
async def test_wrong_parameters_are_refused(tmp_path: Path, query: str, code: str, param: str) -> None:
    """A misspelt filter must not look like a list without a filter."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        status, content, _ = await ask(client, f"/requests?{query}")
    error = content["error"]
    assert (status, error["type"], error["code"], error["param"]) == (400, "invalid_request_error", code, param)


async def test_prompts_are_shown_where_they_are_stored(tmp_path: Path) -> None:
    """Only those of requests that the caller may see."""
    world = TaughtWorld(settings_for(tmp_path / "spool", **KEYS))
    world.prompts = FakePrompts(owner_of(USER))
    own_id, _ = await store(world, owner=owner_of(USER)), await store(world, owner=owner_of(OTHER))
    async with serving(world) as client:
        content = await listed(client, USER)
        assert (content["prompts"], content["data"][0]["prompt"]) == ("stored", f"text of {own_id}")
        assert (await listed(client, OTHER))["data"][0]["prompt"] is None


async def test_without_redis_the_answer_is_503(tmp_path: Path) -> None:
    """With the code of records that cannot be read."""
    world = World(settings_for(tmp_path / "spool"))
    async with serving(world) as client:
        world.memory.away = True
        status, content, _ = await ask(client, "/requests")
    assert (status, content["error"]["code"]) == (503, "records_unavailable")
