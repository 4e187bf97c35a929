"""Ratings over HTTP: by source, of sessions, and in lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, ask, serving

ADMIN, USER = "an-admin-key-0123456789", "a-user-key-0123456789"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path / "spool", API_KEYS=USER, ADMIN_API_KEYS=ADMIN))


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    async with serving(world) as client:
        yield client


async def call(client: Client, path: str, body: Any = None, key: str = USER, **headers: str) -> tuple[int, Any]:
    status, content, _ = await ask(client, path, body, Authorization=f"Bearer {key}", **headers)
    return status, content


async def chat(client: Client, name: str, **fields: object) -> None:
    status, _ = await call(client, "/chat/completions", {**BODY, **fields}, X_Request_ID=name)
    assert status == 200


async def story(client: Client, name: str) -> Any:
    return (await call(client, f"/requests/{name}"))[1]


async def test_only_keys_that_may_send_scores_of_other_sources(client: Client) -> None:
    """A user's own rating stays beside them; an admin rates every key's requests."""
    await chat(client, "one")
    assert (await call(client, "/feedback", {"request_id": "one", "score": 0.75}))[0] == 202
    for source in ("eval", "judge", "check", "implicit"):
        body = {"request_id": "one", "score": 0.5, "source": source}
        status, refused = await call(client, "/feedback", body)
        assert (status, refused["error"]["code"], refused["error"]["param"]) == (403, "source_not_allowed", "source")
        assert (await call(client, "/feedback", body, ADMIN))[0] == 202
    record = await story(client, "one")
    assert record["feedback"]["score"] == 0.75
    assert {source: each["score"] for source, each in record["scores"].items()} == dict.fromkeys(
        ("eval", "judge", "check", "implicit"), 0.5
    )
    assert record["learned"]["scores"] == dict.fromkeys(record["scores"], False)


async def test_a_session_is_rated_by_the_id_that_its_requests_had(client: Client) -> None:
    for name in ("one", "two"):
        await chat(client, name, session_id="talk")
    await chat(client, "other")
    body = {"session_id": "talk", "score": 0.5}
    for duplicate in (False, True):
        status, accepted = await call(client, "/v1/feedback", body)
        assert status == 202
        assert accepted == {"status": "accepted", "session_id": "talk", "requests": 2, "duplicate": duplicate}
    for name, scores in (("one", ["session"]), ("two", ["session"]), ("other", [])):
        assert list((await story(client, name))["scores"]) == scores
    status, unknown = await call(client, "/feedback", {"session_id": "talk", "score": 1}, ADMIN)
    assert (status, unknown["error"]["code"]) == (404, "session_not_found"), "the session of another key"


async def test_each_rating_of_a_list_has_its_own_status(client: Client) -> None:
    """Bad ones keep no other out; sent again with the same key, nothing changes."""
    await chat(client, "one", session_id="talk")
    batch = [
        {"request_id": "one", "score": 0.5},
        {"request_id": "one", "score": 0.25, "source": "eval"},
        {"request_id": "unknown", "score": 1},
        {"request_id": "one", "score": 2},
        {"session_id": "talk", "score": 0.75},
        7,
    ]
    for _ in range(2):
        status, results = await call(client, "/feedback", batch, Idempotency_Key="a-key")
        assert status == 207
        assert [each["status_code"] for each in results["data"]] == [202, 403, 404, 400, 202, 400]
        assert results["data"][0] | {"duplicate": 0} == {
            "status_code": 202, "status": "accepted", "request_id": "one", "duplicate": False
        }  # fmt: skip
        codes = [each.get("error", {}).get("code") for each in results["data"]]
        assert codes == [None, "source_not_allowed", "request_not_found", "invalid_value", None, "invalid_json"]
    record = await story(client, "one")
    assert (record["feedback"]["score"], record["feedback"]["revision"]) == (0.5, 1)
    assert record["scores"]["session"]["score"] == 0.75


async def test_a_list_ends_in_time_while_redis_is_away(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there was no time for is to be sent again, as is what could not be stored."""
    monkeypatch.setattr("services.gateway.http.handlers.feedback.BATCH_TIMEOUT_S", -1.0)
    await chat(client, "one")
    _, results = await call(client, "/feedback", [{"request_id": "one", "score": 0.5}])
    assert [(each["status_code"], each["error"]["code"]) for each in results["data"]] == [(503, "feedback_unavailable")]
    assert (await story(client, "one"))["feedback"] is None
