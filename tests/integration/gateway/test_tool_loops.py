"""Two gateway processes on one Redis: tool loops and what models refuse are known to both."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

USER = {"role": "user", "content": "What is the weather in Lima?"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
ABLE = ("openai/gpt-4o-mini", "anthropic/claude-3.5-haiku", "google/gemini-2.5-flash")
BLIND = "meta-llama/llama-3.3-70b-instruct:free"


async def said(client: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[Any, aiohttp.ClientResponse]:
    """Return the answer's message, whole or put together of a stream, and the response."""
    async with client.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        if not body.get("stream"):
            return (await response.json())["choices"][0]["message"], response
        calls: list[Any] = []
        async for line in response.content:
            if line.startswith(b"data: {"):
                delta = json.loads(line[6:])["choices"][0]["delta"]
                calls += [call for call in delta.get("tool_calls", ()) if call.get("id")]
        return {"role": "assistant", "content": None, "tool_calls": calls}, response


@pytest.mark.parametrize("stream", [False, True])
async def test_the_result_of_a_tool_goes_to_the_model_that_called_it(
    gateways: Any, redis_url: str, stream: bool
) -> None:
    """Whichever gateway it comes to, and although the client sends no id of its conversation."""
    names = ",".join(ABLE)
    one, other = [await gateways(REDIS_URL=redis_url, LLM_MODELS=names) for _ in range(2)]
    async with aiohttp.ClientSession(one.url) as here, aiohttp.ClientSession(other.url) as there:
        for model in ABLE:
            asked = {"messages": [USER], "tools": TOOLS, "stream": stream, "model": model}
            message, _ = await said(here, asked)
            result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
            for client in (there, here, there):
                _, response = await said(client, {"messages": [USER, message, result], "tools": TOOLS})
                found = {name: response.headers[f"x-router-{name}"] for name in ("model", "propensity", "session")}
                assert found == {"model": model, "propensity": "1", "session": "held"}


async def test_a_model_that_lists_no_images_gets_none(gateways: Any, redis_url: str) -> None:
    """Of the request, the dry run and the record, each says who was left out; nothing cools down."""
    gateway = await gateways(REDIS_URL=redis_url, LLM_MODELS=f"{BLIND},{ABLE[0]}", DEFAULT_MODEL=BLIND)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, image]}]}
    async with aiohttp.ClientSession(gateway.url) as client:
        for number in range(10):
            sent = {"X-Request-ID": f"r{number}"}
            async with client.post("/v1/chat/completions", json=asked, headers=sent) as response:
                assert response.headers["x-router-model"] == ABLE[0]
        async with client.get("/v1/requests/r0") as response:
            record = (await response.json())["decision"]
        async with client.post("/v1/route", json=asked) as response:
            dry = (await response.json())["decision"]
        for decision in (record, dry):
            assert decision["unfit"] == [{"arm": BLIND, "feature": "image", "basis": "known"}]
            assert f"{BLIND} (image)" in decision["reason"]
        async with client.post("/v1/chat/completions", json={**asked, "models": [BLIND]}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"], error["param"]) == (400, "no_capable_model", "messages")
        async with client.get("/health") as response:
            assert not any(arm["rests_s"] for arm in (await response.json())["arms"].values())


async def test_what_one_gateway_has_learned_the_other_shows(gateways: Any, redis_url: str) -> None:
    """Notices carry it through Redis within a second or two."""
    one, other = [await gateways(REDIS_URL=redis_url, LLM_MODELS=",".join((BLIND, *ABLE))) for _ in range(2)]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = {"messages": [{"role": "user", "content": [image]}], "model": BLIND}
    async with aiohttp.ClientSession(one.url) as here, aiohttp.ClientSession(other.url) as there:
        async with here.post("/v1/chat/completions", json=asked) as response:
            assert response.status == 404
            assert "image input" in (await response.json())["error"]["message"]
        refuses: dict[str, Any] = {}
        until = time.monotonic() + 10
        while time.monotonic() < until and not refuses:
            await asyncio.sleep(0.2)
            async with there.get("/health") as response:
                refuses = (await response.json())["arms"][BLIND]["refuses"]
    assert 3500 < refuses["image"]["lasts_s"] <= 3600
