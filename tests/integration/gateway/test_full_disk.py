"""A disk that fills up and is freed: answers go on, each record is stored, nothing is restarted."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from deploy.local.servers import Server, free_port, redis_command
from tests.support.gateway_process import BODY, Gateway, eventually

RECOVERY_S = 10.0


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no byte."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                with suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass

    def free(self) -> None:
        """Take that away."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounting needs root: elsewhere the unit tests stand in, with writes that are refused."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("!!! no file system can be mounted here (root only): a full disk was NOT tried")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@asynccontextmanager
async def gateway_on(
    folder: Path, upstream: str, **settings: str
) -> AsyncIterator[tuple[Gateway, aiohttp.ClientSession]]:
    """A started gateway and a client of it."""
    gateway = Gateway(folder, upstream, **settings)
    try:
        await gateway.start()
        async with aiohttp.ClientSession(gateway.url) as client:
            yield gateway, client
    finally:
        await asyncio.to_thread(gateway.server.kill)


async def ask(client: aiohttp.ClientSession, count: int) -> int:
    """Return how many of so many chat requests were answered."""
    answered = 0
    for _ in range(count):
        async with client.post("/v1/chat/completions", json=BODY) as response:
            answered += response.status == 200
            await response.read()
    return answered


async def ready(client: aiohttp.ClientSession) -> str:
    """Return "ready", or why it is not."""
    async with client.get("/ready") as response:
        content = await response.json()
    return "ready" if response.status == 200 else str(content["reason"])


async def ready_again(client: aiohttp.ClientSession) -> float:
    """Return the seconds until it is ready."""
    began = time.monotonic()
    while await ready(client) != "ready":
        assert time.monotonic() - began < RECOVERY_S
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def counted(client: aiohttp.ClientSession, name: str) -> int:
    """Return a metric."""
    async with client.get("/metrics") as response:
        found = re.search(rf"^llm_router_{name} (\S+)$", await response.text(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def test_a_full_spool_disk_while_redis_is_away(disk: Disk, tmp_path: Path, upstream: str) -> None:
    """Answers go on, records wait in memory; /ready says so, and is ready soon after there is room."""
    spool = disk.path / "spool"
    async with gateway_on(tmp_path, upstream, SPOOL_DIR=str(spool)) as (_, client):
        assert await ask(client, 5) == 5
        assert await ready(client) == "ready", "the disk keeps them"
        disk.fill()
        assert await ask(client, 20) == 20
        assert await counted(client, "spooled_records") == 25
        assert await ready(client) == "records cannot be stored"
        assert len(list(spool.iterdir())) == 1, "no file for each try"
        disk.free()
        await ready_again(client)
        assert await ask(client, 5) == 5
        assert await counted(client, "records_lost_total") == 0
        assert await counted(client, "spooled_records") == 30


async def test_a_full_disk_of_redis_loses_nothing(disk: Disk, tmp_path: Path, upstream: str) -> None:
    """Redis refuses writes: records go to the spool on another disk, and to Redis when there is room again."""
    port = free_port()
    redis = Server("redis", redis_command(port, disk.path / "redis"), tmp_path / "redis.log")
    redis.start()
    try:
        await asyncio.to_thread(redis.wait_for_port, port)
        url = f"redis://127.0.0.1:{port}/0"
        async with gateway_on(tmp_path, upstream, REDIS_URL=url) as (_, client):
            assert await ask(client, 5) == 5
            assert len(await eventually(url, 5)) == 5
            disk.fill()
            for _ in range(40):  # what Redis has in its buffers comes to the disk within two seconds
                assert await ask(client, 1) == 1
                await asyncio.sleep(0.1)
            assert await ready(client) == "ready"
            assert await counted(client, "spooled_records") > 0
            disk.free()
            began = time.monotonic()
            while await counted(client, "spooled_records"):
                assert time.monotonic() - began < RECOVERY_S
                await asyncio.sleep(0.1)
            assert await ask(client, 5) == 5
            assert len(await eventually(url, 50)) == 50
            assert await counted(client, "records_lost_total") == 0
    finally:
        redis.kill()


async def test_one_full_disk_for_all(disk: Disk, tmp_path: Path, upstream: str) -> None:
    """Redis, spool and log on it: all are answered and stored, and all goes on by itself."""
    port = free_port()
    redis = Server("redis", redis_command(port, disk.path / "redis"), tmp_path / "redis.log")
    redis.start()
    try:
        await asyncio.to_thread(redis.wait_for_port, port)
        url, log = f"redis://127.0.0.1:{port}/0", disk.path / "gateway.log"
        gateway = Gateway(tmp_path, upstream, REDIS_URL=url, SPOOL_DIR=str(disk.path / "spool"))
        gateway.server.command = ["sh", "-c", f'exec "$@" 2>>{log}', "sh", *gateway.server.command]
        try:
            await gateway.start()
            async with aiohttp.ClientSession(gateway.url) as client:
                assert await ask(client, 5) == 5
                disk.fill()
                answered, reasons = 5, set()
                for _ in range(40):
                    disk.fill()  # a rewritten file of Redis may have given some room back
                    answered += await ask(client, 1)
                    reasons.add(await ready(client))
                    await asyncio.sleep(0.1)
                assert answered == 45
                assert "records cannot be stored" in reasons
                disk.free()
                await ready_again(client)
                assert await ask(client, 5) == 5
                assert await counted(client, "records_lost_total") == 0
                assert len(await eventually(url, 50)) == 50
                assert await counted(client, "log_lines_dropped_total") > 0
                assert '"log lines were lost"' in log.read_text()
        finally:
            await asyncio.to_thread(gateway.server.kill)
    finally:
        redis.kill()
