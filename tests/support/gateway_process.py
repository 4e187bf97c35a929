"""A gateway process under test, and what it leaves in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio as aioredis
from redis.exceptions import RedisError

from deploy.local.servers import Server, free_port
from shared.storage import redis_keys
from shared.storage.story_codec import record_of

BODY = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
MODELS = ("anthropic/claude-3.5-haiku", "openai/gpt-4o-mini")
NOWHERE = "127.0.0.1:9"
"""The discard port, without a listener."""


class Gateway:
    """One gateway process."""

    def __init__(self, folder: Path, upstream: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OPENROUTER_BASE_URL": upstream,
            "LLM_MODELS": ",".join(MODELS),
            "REDIS_URL": f"redis://{NOWHERE}/0",
            "QDRANT_URL": f"http://{NOWHERE}",
            "EMBEDDER_URL": f"http://{NOWHERE}",
            "SPOOL_DIR": str(folder / "spool"),
            "LOG_FORMAT": "json",
            "DRAIN_TIMEOUT_S": "20",
            **settings,
        }
        self.server = Server("gateway", [sys.executable, "-m", "services.gateway"], self.log, environment)

    async def start(self) -> None:
        """Start, and wait for /ready."""
        self.server.start()
        await asyncio.to_thread(self.server.wait_for_port, self.port)
        async with aiohttp.ClientSession(self.url) as client:
            for _ in range(500):
                async with client.get("/ready") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def lines(self) -> list[dict[str, Any]]:
        """Return the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


async def stored(url: str) -> list[dict[str, Any]]:
    """Return every record in Redis."""
    async with aioredis.Redis.from_url(url) as client:
        found = []
        async for key in client.scan_iter(match=redis_keys.story("*")):
            own_id = key.decode().removeprefix(redis_keys.story(""))
            found.append(json.loads(record_of(await client.get(key), own_id).to_json()))
        return found


async def eventually(url: str, count: int) -> list[dict[str, Any]]:
    """Wait until that many records are stored; a Redis that is still loading has none."""
    records: list[dict[str, Any]] = []
    for _ in range(300):
        with contextlib.suppress(RedisError):
            records = await stored(url)
        if len(records) >= count:
            break
        await asyncio.sleep(0.03)
    return records
