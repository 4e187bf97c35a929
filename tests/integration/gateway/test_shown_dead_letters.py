"""`GET /dead-letters` and `POST /dead-letters/requeue`, over HTTP."""

from __future__ import annotations

from pathlib import Path

from services.gateway.http.openapi_views import DEAD_LETTERS
from shared.schemas.events import Event, EventKind
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.integration.gateway.test_shown_kinds import ADMIN, USER
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving

REQUEUE = "/dead-letters/requeue"


async def bury(world: World, number: int) -> FakeEventQueue:
    """Return a queue with so many dead letters and no events."""
    queue = FakeEventQueue(world.memory)
    for at in range(number):
        world.memory.add(Event(f"1-{at}", EventKind.FEEDBACK, f"r{at}", revision=at + 1, score=0.5))
    for event in await queue.read("one", number):
        await queue.bury(event, f"reason {event.request_id}")
    return queue


async def test_dead_letters_are_shown_and_moved_back_once(tmp_path: Path) -> None:
    """The oldest first, with their reasons; the second time there is nothing to move."""
    world = World(settings_for(tmp_path / "spool"))
    queue = await bury(world, 3)
    async with serving(world) as client:
        _, content, _ = await ask(client, "/dead-letters?limit=2")
        assert faults(content, closed(DEAD_LETTERS)) == []
        assert content["total"] == 3
        assert [(one["request_id"], one["kind"], one["revision"], one["reason"]) for one in content["data"]] == [
            ("r0", "feedback", 1, "reason r0"), ("r1", "feedback", 2, "reason r1"),
        ]  # fmt: skip
        assert (await ask(client, REQUEUE, {}))[:2] == (200, {"object": "requeued", "requeued": 3})
        assert (await ask(client, REQUEUE, {}))[:2] == (200, {"object": "requeued", "requeued": 0})
        assert (await ask(client, "/v1/dead-letters"))[1] == {"object": "list", "total": 0, "data": []}
    assert [event.request_id for event in await queue.read("two", 10)] == ["r0", "r1", "r2"]


async def test_only_admin_keys_may_see_and_move_them(tmp_path: Path) -> None:
    """If there are any; without any admin key, no user's key may move them."""
    async with serving(World(settings_for(tmp_path / "one", API_KEYS=USER, ADMIN_API_KEYS=ADMIN))) as client:
        for path, body in (("/dead-letters", None), (REQUEUE, {}), (f"/v1{REQUEUE}", {})):
            status, content, _ = await ask(client, path, body, **bearer(USER))
            assert (status, content["error"]["code"]) == (403, "admin_key_required"), path
            assert (await ask(client, path, body))[0] == 401
            assert (await ask(client, path, body, **bearer(ADMIN)))[0] == 200
    async with serving(World(settings_for(tmp_path / "two", API_KEYS=USER))) as client:
        assert (await ask(client, "/dead-letters", **bearer(USER)))[0] == 200
        assert (await ask(client, REQUEUE, {}, **bearer(USER)))[0] == 403


async def test_without_redis_the_answer_is_503(tmp_path: Path) -> None:
    """With a code that says to try again, and nothing is lost."""
    world = World(settings_for(tmp_path / "spool"))
    queue = await bury(world, 1)
    async with serving(world) as client:
        world.memory.away = True
        status, content, _ = await ask(client, "/dead-letters")
        assert (status, content["error"]["code"]) == (503, "records_unavailable")
        status, content, _ = await ask(client, REQUEUE, {})
        assert (status, content["error"]["code"]) == (503, "dependency_unavailable")
    world.memory.away = False
    assert (await queue.depth()).dead == 1


async def test_wrong_parameters_are_refused(tmp_path: Path) -> None:
    """With the name of the parameter."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        for path, body, param in (("/dead-letters?limit=0", None, "limit"), (f"{REQUEUE}?limit=1", {}, "limit")):
            status, content, _ = await ask(client, path, body)
            assert (status, content["error"]["param"]) == (400, param)
