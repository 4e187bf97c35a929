"""Two Redis servers, a primary and its replica, behind one address that moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as aioredis

from benchmarks.soaking.forwarder import Forwarder, forwarding
from deploy.local.servers import Server, free_port, redis_command


@asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[tuple[aioredis.Redis, aioredis.Redis, Forwarder]]:
    """A primary, its replica, and an address that leads to the primary."""
    ports, servers = (free_port(), free_port()), []
    try:
        for port in ports:
            command = [*redis_command(port, folder / str(port)), "--repl-diskless-sync-delay", "0"]
            servers.append(Server("redis", command, folder / f"{port}.log"))
            servers[-1].start()
            servers[-1].wait_for_port(port)
        first, second = (aioredis.Redis(port=port) for port in ports)
        await second.replicaof("127.0.0.1", str(ports[0]))
        while (await second.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        async with forwarding(ports[0]) as forwarder:
            yield first, second, forwarder
        await first.aclose()
        await second.aclose()
    finally:
        for server in servers:
            server.kill()


async def fail_over(first: aioredis.Redis, second: aioredis.Redis, forwarder: Forwarder) -> None:
    """Make the second the primary and the first its replica; connections that are open stay with the first."""
    await second.replicaof("NO", "ONE")
    forwarder.target = second.connection_pool.connection_kwargs["port"]
    await first.replicaof("127.0.0.1", str(forwarder.target))
