"""A Redis behind one address that moves, and replies that say that a server is the wrong one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from benchmarks.soaking.forwarder import Forwarder, forwarding
from deploy.local.servers import Server, free_port, redis_command, running
from shared.clock import SystemClock
from shared.errors import DependencyError
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, KeptConnection, Script, connect, probe
from shared.storage.redis_pool import code_of
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_requests import RedisRequestLog
from tests.support.redis_pair import fail_over, two_servers
from tests.support.sample_records import a_new_record


def client_of(forwarder: Forwarder, timeout_s: float = 2.0) -> Client:
    return connect(Settings(REDIS_URL=f"redis://127.0.0.1:{forwarder.port}/0"), timeout_s=timeout_s)


async def writers(client: Client) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every way by which we write: command, pipeline, transaction, script, kept connection, arq's queue."""
    queue, heartbeats, script = RedisEventQueue(client), RedisHeartbeats(client), Script(client, "change_arm.lua")
    log, kept = RedisRequestLog(client, window_s=60.0, clock=SystemClock()), KeptConnection(client)
    raw: Any = client

    def pipeline() -> Awaitable[Any]:
        made = client.pipeline(transaction=False)
        made.set("b", 1)
        return made.execute()

    return {
        "command": lambda: raw.set("a", 1),
        "pipeline": pipeline,
        "transaction": lambda: heartbeats.beat("worker", "1", 60.0),
        "script": lambda: script.call([redis_keys.ARMS], ["v/a", "1"]),
        "kept": lambda: kept.run([("SET", "c", 1)]),
        "kept script": lambda: log.record([a_new_record(time.time())]),
        "arq": queue.wake,
        "group": queue.prepare,
        "probe": lambda: probe(client),
    }


async def test_every_way_of_writing_follows_an_address_that_moves(tmp_path: Path) -> None:
    """READONLY ends a connection: the very next write of each kind is stored by the new primary."""
    async with two_servers(tmp_path) as (first, second, forwarder):
        client = client_of(forwarder)
        ways = await writers(client)
        for write in ways.values():
            await write()
        await fail_over(first, second, forwarder)
        for name, write in ways.items():
            await write()
            assert name
        assert await second.get("a") == await second.get("b") == await second.get("c") == b"1"
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("name", ["command", "pipeline", "transaction", "script", "kept", "kept script", "probe"])
async def test_each_way_of_writing_leaves_a_replica_by_itself(tmp_path: Path, name: str) -> None:
    """Each has a client of its own here, so that no other has met READONLY before it."""
    async with two_servers(tmp_path) as (first, second, forwarder):
        client = client_of(forwarder)
        write = (await writers(client))[name]
        await write()
        await fail_over(first, second, forwarder)
        await write()
        await client.aclose(close_connection_pool=True)


async def test_one_refusal_moves_the_connections_that_are_idle(tmp_path: Path) -> None:
    """Reads would go on at the old primary for ever: a replica answers them."""
    async with two_servers(tmp_path) as (first, second, forwarder):
        client = client_of(forwarder)
        raw: Any = client
        kept = KeptConnection(client)
        await kept.run([("GET", "x")])
        await asyncio.gather(*(raw.get("x") for _ in range(8)))
        await fail_over(first, second, forwarder)
        await first.replicaof("NO", "ONE")
        await first.set("x", "old")
        await first.replicaof("127.0.0.1", "1")  # a primary that is not there: what it holds stays
        await second.set("x", "new")
        assert await raw.get("x") == b"old"
        await raw.set("y", 1)
        assert set(await asyncio.gather(*(raw.get("x") for _ in range(8)))) == {b"new"}
        assert await kept.run([("GET", "x")]) == [b"new"]
        await client.aclose(close_connection_pool=True)


async def test_a_script_is_loaded_where_it_runs(tmp_path: Path) -> None:
    """An idle connection may lead elsewhere: the script goes by the connection that lacked it."""
    async with two_servers(tmp_path) as (_, second, forwarder):
        client = client_of(forwarder)
        kept = KeptConnection(client)
        script = Script(client, "forget_consumers.lua", kept=kept)
        await asyncio.gather(*(client.ping() for _ in range(2)))  # idle ones, which lead to the first
        await script.call([redis_keys.EVENTS], ["group", 1000])
        forwarder.target = second.connection_pool.connection_kwargs["port"]
        await second.replicaof("NO", "ONE")
        await second.script_flush()
        await kept._connection.disconnect()
        assert await script.call([redis_keys.EVENTS], ["group", 1000]) == 0
        await client.aclose(close_connection_pool=True)


async def test_a_peer_that_vanished_costs_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are open no longer answer and are not closed; new ones work."""
    monkeypatch.setattr("shared.storage.redis_pool.FRESH_S", 0.05)
    port = free_port()
    with running(Server("redis", redis_command(port, tmp_path), tmp_path / "log"), port):
        async with forwarding(port) as forwarder:
            client: Any = client_of(forwarder, timeout_s=1.5)
            kept = KeptConnection(client)
            await kept.run([("PING",)])
            await asyncio.gather(*(client.set(str(number), 1) for number in range(10)))
            await asyncio.sleep(0.1)
            forwarder.freeze()
            with pytest.raises(DependencyError, match="no answer in time"):
                await kept.run([("PING",)])
            began = time.monotonic()
            await asyncio.gather(*(client.set(str(number), 1) for number in range(10)))
            await kept.run([("PING",)])
            assert time.monotonic() - began < 1.2
            await client.aclose(close_connection_pool=True)


async def test_a_server_that_is_slow_is_not_dialled_again_and_again(redis_url: str) -> None:
    """A new connection that is silent, too, says that it is not the connection."""
    client: Any = connect(Settings(REDIS_URL=redis_url))
    await client.ping()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.blpop(["nothing"], timeout=1), 0.2)
    assert client.connection_pool._generation.number == 0
    await client.aclose(close_connection_pool=True)


async def test_a_caller_that_leaves_early_is_no_failure_of_the_server(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many cancelled requests must not make every connection be dialled anew."""
    monkeypatch.setattr("shared.storage.redis_pool.FRESH_S", -1.0)
    client: Any = connect(Settings(REDIS_URL=redis_url))
    await client.ping()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.blpop(["nothing"], timeout=1), 0.02)
    async with client.client() as one:
        await one.ping()
    assert client.connection_pool._generation.number == 0
    await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        ([("REPLICAOF", "127.0.0.1", "1")], "READONLY"),
        ([("CONFIG", "SET", "min-replicas-to-write", "1")], "NOREPLICAS"),
        ([("CONFIG", "SET", "maxmemory", "1")], "OOM"),
        ([("ACL", "SETUSER", "default", "-setrange")], "NOPERM"),
    ],
)
async def test_a_redis_that_answers_but_refuses_writes_is_named(
    tmp_path: Path, orders: list[tuple[str, ...]], reason: str
) -> None:
    """The reason is one of a few words, for /health; it goes as soon as the state does."""
    port = free_port()
    with running(Server("redis", redis_command(port, tmp_path), tmp_path / "log"), port):
        operator: Any = aioredis.Redis(port=port)
        client: Any = connect(Settings(REDIS_URL=f"redis://127.0.0.1:{port}/0"))
        assert await probe(client) == (await operator.info("server"))["redis_version"]
        for order in orders:
            await operator.execute_command(*order)
        with pytest.raises(DependencyError) as caught:
            await probe(client)
        assert caught.value.reason.split(":")[0] == reason
        assert str(port) not in caught.value.reason
        await operator.config_set("min-replicas-to-write", "0")
        await operator.config_set("maxmemory", "0")
        await operator.execute_command("ACL", "SETUSER", "default", "+@all")
        await operator.replicaof("NO", "ONE")
        assert await probe(client)
        assert await operator.keys("*") == []  # the probe writes nothing
        await client.aclose(close_connection_pool=True)
        await operator.aclose()


async def test_a_wrong_password_and_a_full_server_are_named(tmp_path: Path) -> None:
    """And none of them needs a restart of ours once it is put right."""
    port = free_port()
    with running(Server("redis", redis_command(port, tmp_path), tmp_path / "log"), port):
        operator: Any = aioredis.Redis(port=port)
        client = connect(Settings(REDIS_URL=f"redis://:secret1@127.0.0.1:{port}/0"))
        open_to_all = connect(Settings(REDIS_URL=f"redis://127.0.0.1:{port}/0"))
        assert await probe(open_to_all)
        await operator.config_set("requirepass", "secret2")
        with pytest.raises(DependencyError) as caught:
            await probe(client)
        assert caught.value.reason.startswith("WRONGPASS")
        assert "secret" not in str(caught.value)
        await operator.config_set("requirepass", "secret1")
        assert await probe(client)
        await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(DependencyError) as caught:
            await probe(open_to_all)
        assert caught.value.reason.startswith("NOAUTH")
        await operator.config_set("requirepass", "")
        assert await probe(open_to_all)
        await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await operator.config_set("maxclients", "1")
        with pytest.raises(DependencyError) as caught:
            await probe(open_to_all)
        # The kernel may drop the server's last words when it closes at once.
        assert caught.value.reason.split(":")[0] in ("MAXCLIENTS", "no connection")
        await operator.config_set("maxclients", "100")
        assert await probe(open_to_all)
        for each in (client, open_to_all):
            await each.aclose(close_connection_pool=True)
        await operator.aclose()


async def test_a_login_taken_from_an_open_connection_is_asked_for_again(redis_url: str) -> None:
    """NOAUTH in the midst of a connection, as a proxy sends it after a rotation, ends it; the next one logs in."""
    client: Any = connect(Settings(REDIS_URL=redis_url))
    await client.ping()
    with pytest.raises(aioredis.ConnectionError):
        await client.eval("return redis.error_reply('NOAUTH Authentication required.')", 0)
    assert client.connection_pool._generation.number >= 1
    assert await client.ping()
    await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write", "READONLY"),
        ("EXECABORT Transaction discarded because of: READONLY You can't write", "READONLY"),
        ("EXECABORT Transaction discarded because of previous errors.", "EXECABORT"),
        ("ERR max number of clients reached", "MAXCLIENTS"),
        ("ERR unknown command 'READONLY '", "ERR"),
        ("MOVED 1234 10.0.0.1:6379", "MOVED"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "MASTERDOWN"),
        ("user_script:1: Script attempted to", ""),
        ("", ""),
    ],
)
def test_the_word_of_a_reply(reply: str, code: str) -> None:
    """Also of one inside another: of a script before Redis 7, of a transaction."""
    assert code_of(reply) == code
