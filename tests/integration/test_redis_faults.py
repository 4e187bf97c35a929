"""Faults of a real Redis: it loses data, freezes, fills up, and holds damaged values."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.servers import Server, free_port, redis_command, running
from shared.bandit.stored_sums import WeightedDays
from shared.clock import utc_day
from shared.errors import CorruptState, DependencyError, SettingsError
from shared.schemas.events import EventKind
from shared.schemas.storage import Applied, Effect
from shared.settings import Settings, load_settings
from shared.storage import redis_keys, redis_posteriors
from shared.storage.redis_connection import answers_of, connect, eviction_policy
from shared.storage.redis_queue import RedisEventQueue
from tests.support.kinds import some_kinds
from tests.support.learning import a_learner
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import Rig, redis_rig
from tests.support.sample_records import ARM, a_new_record
from tests.support.values import replace


@pytest.fixture
async def rig(redis_server: str) -> AsyncIterator[Rig]:
    async with redis_rig(redis_server) as real:
        yield real


async def effects(rig: Rig, number: int) -> list[Effect]:
    """Record requests and return the effects of their outcomes."""
    await rig.log.record([a_new_record(rig.clock.now()) for _ in range(number)])
    events = await rig.queue.read("test", number)
    assert {event.kind for event in events} == {EventKind.OUTCOME}
    return [Effect(event, ARM, rig.clock.now(), {"requests": 1}) for event in events]


async def test_a_contribution_of_too_many_fields_is_refused_whole(rig: Rig) -> None:
    """Lua could write some of its hashes and stop at the one that is too large."""
    assert rig.raw is not None
    (effect,) = await effects(rig, 1)
    others = {f"requests|vendor/model-{number}": 1 for number in range(8)}
    assert await rig.posteriors.apply([replace(effect, sums={f"f{number}": 1 for number in range(5000)} | others)]) == [
        Applied.REFUSED
    ]
    assert [name async for name in rig.raw.scan_iter(redis_keys.sums("*", "*"))] == []


@pytest.mark.parametrize("value", ["many", "1.5", "-0", "007", "", "9" * 17, "nan"])
async def test_a_damaged_sum_is_refused_by_writers_and_readers(rig: Rig, redis_server: str, value: str) -> None:
    """Nothing of the contribution is written; other arms are applied; the reader says which hash it is."""
    assert rig.raw is not None
    first, second, other = await effects(rig, 3)
    await rig.posteriors.apply([first])
    (key,) = [name async for name in rig.raw.scan_iter(redis_keys.sums("*", "*"))]
    await rig.raw.hset(key, "labels", value)
    rated = replace(second, sums={"requests": 1, "labels": 1})
    elsewhere = replace(other, arm="vendor/model-b")
    assert await rig.posteriors.apply([rated, elsewhere]) == [Applied.REFUSED, Applied.APPLIED]
    assert await rig.raw.hget(key, "requests") == b"1"
    with pytest.raises(CorruptState, match=ARM):
        await rig.second_reader.load()
    await rig.raw.hdel(key, "labels")
    assert await rig.posteriors.apply([rated]) == [Applied.APPLIED]
    assert (await rig.second_reader.load()).arms[ARM].total.requests == 2
    assert sums_in(redis_server) == ledgers_in(redis_server)


@pytest.mark.parametrize("damaged", ["sums", "versions", "unindexed", "version", "ledger"])
async def test_whatever_is_damaged_an_effect_is_applied_whole_or_not_at_all(rig: Rig, damaged: str) -> None:
    """There is no rollback in Lua: the script must stop before its first write."""
    assert rig.raw is not None
    effect, other = await effects(rig, 2)
    request = redis_keys.request(effect.event.request_id)
    day = utc_day(effect.created_at)
    if damaged == "sums":
        await rig.raw.set(redis_keys.sums(ARM, day), "text")
    elif damaged == "versions":
        await rig.raw.set(redis_keys.VERSIONS, "text")
    elif damaged == "unindexed":
        await rig.raw.set(redis_keys.UNINDEXED, "text")
    elif damaged == "version":
        await rig.raw.hset(redis_keys.VERSIONS, f"{ARM}|{day}", "text")
    else:
        await rig.raw.hset(request, "applied:outcome", '{"requests":1,')
    before = await rig.raw.hgetall(request)
    assert (await rig.posteriors.apply([effect]))[0] is Applied.REFUSED
    assert await rig.raw.hgetall(request) == before
    assert await rig.raw.xlen(redis_keys.EVENTS) == 2
    if damaged == "ledger":
        assert await rig.posteriors.apply([other]) == [Applied.APPLIED]


async def test_a_damaged_request_is_settled_and_stops_no_others(rig: Rig) -> None:
    """What cannot be read is due no more: it would be tried for ever, ahead of all others."""
    assert rig.raw is not None
    entries = [a_new_record(rig.clock.now() + at) for at in range(4)]
    await rig.log.record(entries)
    ids = [entry.record.id for entry in entries]
    for own_id in ids:
        await rig.log.rate(owner=None, public_id=own_id, score=1.0, text=None, now=rig.clock.now())
    await a_learner(rig).drain()
    await rig.raw.delete(redis_keys.request(ids[0]))
    await rig.raw.set(redis_keys.request(ids[0]), "text")
    await rig.raw.hset(redis_keys.request(ids[1]), "revision", "text")
    await rig.raw.hset(redis_keys.request(ids[2]), "score", "text")
    due = await rig.log.pending_index(10)
    assert due == dict(zip(ids, (0, 0, 1, 1), strict=True))
    assert [one is not None for one in await rig.log.load(ids)] == [False, False, False, True]
    assert await rig.log.indexed(due) == []
    assert await rig.log.pending_index(10) == {}


async def test_scripts_that_redis_has_forgotten_are_sent_again(rig: Rig) -> None:
    """After SCRIPT FLUSH, a restart or a failover the next call works, for batches, too."""
    assert rig.raw is not None
    await rig.raw.script_flush()
    todo = await effects(rig, 5)
    await rig.raw.script_flush()
    assert await rig.posteriors.apply(todo) == [Applied.APPLIED] * 5


async def test_an_emptied_redis_is_used_as_a_new_one(rig: Rig) -> None:
    """The group is made again, and a reader that remembers the old sums does not mistake new ones for them."""
    assert rig.raw is not None
    (effect,) = await effects(rig, 1)
    await rig.posteriors.apply([replace(effect, sums={"requests": 5})])
    assert (await rig.posteriors.load()).arms[ARM].total.requests == 5
    await rig.raw.flushall()
    assert await rig.queue.claim("test", idle_s=0, limit=10) == []
    rig.clock.advance(1)
    (effect,) = await effects(rig, 1)
    await rig.posteriors.apply([effect])
    assert (await rig.posteriors.load()).arms[ARM].total.requests == 1


async def test_a_foreign_field_in_versions_is_corrupt_state(rig: Rig) -> None:
    """The last good state is better than a guess."""
    assert rig.raw is not None
    await rig.raw.hset(redis_keys.VERSIONS, "no day", 1)
    with pytest.raises(CorruptState):
        await rig.posteriors.load()


async def test_a_reader_that_gave_up_goes_on_where_it_was(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first read of a long history may take longer than a gateway waits: parts that were read are kept."""
    assert rig.raw is not None
    monkeypatch.setattr(redis_posteriors, "_HASHES_AT_ONCE", 2)
    for age in range(8):
        day = f"vendor/model|{utc_day(rig.clock.now() - age * 86_400)}"
        await rig.raw.hset(redis_keys.VERSIONS, day, 1)
        await rig.raw.hset(f"{redis_keys.SUMS}{day}", "requests", 1)
    asked: list[int] = []

    async def slow(pipeline: Any) -> list[Any]:
        asked.append(len(pipeline))
        if len(asked) == 4:
            raise TimeoutError
        return await answers_of(pipeline)

    monkeypatch.setattr(redis_posteriors, "answers_of", slow)
    with pytest.raises(TimeoutError):
        await rig.posteriors.load()
    state = await rig.posteriors.load()
    assert asked == [2, 2, 2, 2, 2, 2, 2], "two parts are not read again"
    assert state.arms["vendor/model"].total.requests == pytest.approx(8, rel=0.2)


async def test_learned_state_is_parsed_beside_the_event_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day has thousands of fields, and open streams must not wait for them."""
    threads: dict[str, int] = {}

    def noted(name: str, act: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            threads[name] = threading.get_ident()
            return act(*arguments)

        return wrapper

    for name in ("parse_sums", "parse_kinds"):
        monkeypatch.setattr(redis_posteriors, name, noted(name, getattr(redis_posteriors, name)))
    monkeypatch.setattr(WeightedDays, "replace", noted("weigh", WeightedDays.replace))
    (effect,) = await effects(rig, 1)
    await rig.posteriors.apply([effect])
    await rig.kinds.save(None, some_kinds(), {})
    state = await rig.posteriors.load()
    assert state.kinds is not None
    assert threads.keys() == {"parse_sums", "parse_kinds", "weigh"}
    assert threading.get_ident() not in threads.values()


async def test_of_garbage_in_the_stream_nothing_raises(rig: Rig) -> None:
    """Whatever was written into it comes out as an event that can be buried, content and all."""
    assert rig.raw is not None
    for fields in (
        {"x": "y"},
        {"v": "1", "kind": "feedback", "id": "a", "revision": "1"},
        {"v": "1", "kind": "outcome", "id": b"\xff", "revision": "one"},
        {"v": "-1", "kind": "\xff"},
        {"v": "9" * 50, "kind": "outcome", "id": "a", "revision": "1"},
    ):
        await rig.raw.xadd(redis_keys.EVENTS, fields)
    events = await rig.queue.read("test", 100)
    assert len(events) == 5
    for event in events:
        await rig.queue.bury(event, "garbage")
    assert await rig.queue.requeue(100) == 5
    assert len(await rig.queue.read("test", 100)) == 5


async def test_a_frozen_redis_is_an_error_in_bounded_time(tmp_path: Path) -> None:
    """SIGSTOP: every call raises DependencyError soon; after SIGCONT the same client works."""
    port = free_port()
    server = Server("redis", redis_command(port, tmp_path), tmp_path / "log")
    server.start()
    server.wait_for_port(port)
    client = connect(Settings(REDIS_URL=f"redis://127.0.0.1:{port}/0"), timeout_s=0.3)
    queue = RedisEventQueue(client)
    try:
        await queue.prepare()
        server.signal(signal.SIGSTOP)
        for call in (queue.wake, queue.depth, queue.prepare):
            began = time.monotonic()
            with pytest.raises(DependencyError, match="redis"):
                await call()
            assert time.monotonic() - began < 1.5
        server.signal(signal.SIGCONT)
        assert (await queue.depth()).waiting == 0
        server.kill()
        with pytest.raises(DependencyError):
            await queue.depth()
        server.start()
        server.wait_for_port(port)
        await asyncio.sleep(0.05)
        assert (await queue.depth()).waiting == 0
    finally:
        await client.aclose(close_connection_pool=True)
        server.signal(signal.SIGCONT)
        server.kill()


async def test_redis_may_be_reached_by_a_file(tmp_path: Path) -> None:
    """`unix://` works like an address."""
    port, path = free_port(), tmp_path / "redis.sock"
    server = Server("redis", [*redis_command(port, tmp_path), "--unixsocket", str(path)], tmp_path / "log")
    with running(server, port):
        client = connect(Settings(REDIS_URL=f"unix://{path}"))
        assert (await RedisEventQueue(client).depth()).waiting == 0
        assert await eviction_policy(client) == "noeviction"
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://user:pa/ss@host:6379/0", "redis://[::1"])
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    """By the setting's name, and without a piece of the password."""
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        load_settings({"REDIS_URL": url}, None)
    assert "pa'" not in str(caught.value)


async def test_no_address_or_password_in_any_error_or_repr() -> None:
    """A password in the URL stays there."""
    client = connect(Settings(REDIS_URL=f"redis://user:hunter2@127.0.0.1:{free_port()}/0"), timeout_s=0.3)
    with pytest.raises(DependencyError) as caught:
        await RedisEventQueue(client).depth()
    assert "hunter2" not in repr(client) + str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    await client.aclose(close_connection_pool=True)


async def test_a_full_redis_refuses_and_loses_nothing(rig: Rig) -> None:
    """At maxmemory writes raise DependencyError, nothing is evicted, and after more memory all goes on."""
    assert rig.raw is not None
    todo = await effects(rig, 3)
    await rig.raw.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(DependencyError, match="redis"):
            await rig.posteriors.apply(todo)
        assert (await rig.queue.depth()).waiting == 3
    finally:
        await rig.raw.config_set("maxmemory", "0")
    assert await rig.posteriors.apply(todo) == [Applied.APPLIED] * 3
