"""A gateway of fakes that is served over HTTP: the real server, middlewares and routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from deploy.local.servers import free_port
from services.gateway.app import build_app
from services.gateway.http.app_keys import READINESS
from services.gateway.http.server import serve
from tests.support.fakes.gateway import World

BODY = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
Client = aiohttp.ClientSession


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[Client]:
    """Serve `world` on a free port; yields a client once it is ready."""
    world.settings = world.settings.model_copy(update={"PORT": free_port()})
    app = build_app(world.settings, world.adapters, world.file)
    runner = await serve(app, world.settings)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{world.settings.PORT}") as client:
            for _ in range(200):
                async with client.get("/ready") as ready:
                    if ready.status == 200 and app[READINESS].draining is False:
                        break
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            yield client
    finally:
        await runner.cleanup()


async def ask(client: Client, path: str, body: object = None, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    """Post a body, or get where there is none."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    call = client.get(path, headers=sent) if body is None else client.post(path, json=body, headers=sent)
    async with call as response:
        content = await response.json() if response.content_type == "application/json" else await response.text()
        return response.status, content, response.headers
