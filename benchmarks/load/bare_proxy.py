"""Bare proxy, the baseline: a minimal aiohttp proxy on uvloop, which only forwards requests and responses."""

from __future__ import annotations

import argparse

import aiohttp
import uvloop
from aiohttp import web


async def main(port: int, upstream: str) -> None:
    """Serve until killed."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    headers = {"Content-Type": "application/json"}

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with session.post(upstream + "/chat/completions", data=body, headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(body=await answer.read(), content_type="application/json")
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            async for chunk in answer.content.iter_any():
                await stream.write(chunk)
            await stream.write_eof()
            return stream

    app = web.Application()
    app.router.add_post("/v1/chat/completions", forward)
    await web._run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)  # noqa: SLF001 - run_app's body


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvloop.run(main(options.port, options.upstream))
