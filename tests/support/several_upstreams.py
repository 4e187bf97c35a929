"""Three upstreams over real HTTP, as different as a MODELS_FILE may describe them, and a gateway before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.clients.http_upstreams import HttpUpstreams
from shared.models_file import models_of
from tests.support import raw_upstream as raw
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, serving

FILE = """
upstreams:
  router: {base_url: ROUTER, api_key: key-of-router}
  hosted: {base_url: "HOSTED?api-version=7", api_key: key-of-hosted, api_key_header: api-key,
           extra_headers: {x-team: blue}}
  local:  {base_url: LOCAL, stream_options: false, list_models: false, timeout_s: 1LOCAL_MORE}
models:
  - {id: v/big}
  - {id: small, upstream: hosted, model: gpt-small, price: {prompt: 1, completion: 2}}
  - {id: local/q, upstream: local, model: "q:8b", context_length: 1000, capabilities: [tools]}
policies:
  own: {arms: [small, local/q], weights: {cost: 0}}
"""
LISTS = {"router": ("v/big", "v/other"), "hosted": ("gpt-small", "gpt-large"), "local": ()}


@dataclass
class Site:
    """A gateway and its upstreams. `scripts`: what an upstream does with calls in place of a good answer."""

    client: Client
    world: World
    upstreams: dict[str, raw.RawUpstream]
    path: Path
    scripts: dict[str, raw.Script] = field(default_factory=dict)

    async def chat(self, **fields: object) -> tuple[int, dict[str, str], str]:
        """Return status, headers and body of a chat request."""
        async with self.client.post("/v1/chat/completions", json={**BODY, **fields}) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    async def health(self) -> dict[str, Any]:
        """Return the report of `/health`, which is at most a second old."""
        await asyncio.sleep(1.0)
        async with self.client.get("/health") as answer:
            return dict(await answer.json())

    def calls(self, name: str) -> list[raw.Seen]:
        """Return the chat requests that an upstream has got."""
        return [seen for seen in self.upstreams[name].seen if seen.line.startswith("POST")]


@asynccontextmanager
async def three_upstreams(folder: Path, *, file: str = FILE, local: str = "", **settings: str) -> AsyncIterator[Site]:
    """Serve a gateway before three upstreams; `local` is added to what the file says of the local one."""
    async with AsyncExitStack() as stack:
        upstreams = {name: await stack.enter_async_context(raw.raw_upstream()) for name in LISTS}
        scripts: dict[str, raw.Script] = {}
        for name, upstream in upstreams.items():
            upstream.script = _script(name, upstream, scripts)
        path = folder / "models.yaml"
        for name, upstream in upstreams.items():
            file = file.replace(name.upper() + "_MORE", local).replace(name.upper(), upstream.url)
        path.write_text(file, encoding="utf-8")
        values = {"LLM_MODELS": "", "DEFAULT_MODEL": "", "MODELS_FILE": str(path), **settings}
        world = World(settings_for(folder / "spool", **values))
        world.upstreams = HttpUpstreams(world.settings, models_of(world.settings, {}))
        stack.callback(world.upstreams.close)
        client = await stack.enter_async_context(serving(world))
        yield Site(client, world, upstreams, path, scripts)


def _script(name: str, upstream: raw.RawUpstream, scripts: dict[str, raw.Script]) -> raw.Script:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = upstream.seen[-1]
        if seen.line.startswith("GET"):
            await raw.whole({"data": [{"id": model} for model in LISTS[name]]})(reader, writer)
            return
        answer = raw.streamed(raw.good_events()) if seen.json.get("stream") else raw.whole()
        await scripts.get(name, answer)(reader, writer)

    return play
