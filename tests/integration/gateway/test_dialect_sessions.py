"""Conversations and tool loops in Responses and Messages: two gateway processes on one Redis keep them with a model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

USER = {"role": "user", "content": "What is the weather in Lima?"}
SCHEMA = {"type": "object", "properties": {}}
ARMS = ("openai/gpt-4o-mini", "anthropic/claude-3.5-haiku", "google/gemini-2.5-flash")
VERSION = {"anthropic-version": "2023-06-01"}
OLD = "user_0a1b_account_11111111-2222_session_"
NEW = '{"device_id":"0a1b","account_uuid":"","session_id":"%s"}'


@pytest.fixture
async def pair(gateways: Any, redis_url: str) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    settings = {"REDIS_URL": redis_url, "LLM_MODELS": ",".join(ARMS), "SESSION_MARGIN": "2"}
    one, other = [await gateways(**settings) for _ in range(2)]
    async with (
        aiohttp.ClientSession(one.url, headers=VERSION) as here,
        aiohttp.ClientSession(other.url, headers=VERSION) as there,
    ):
        yield here, there


async def post(client: aiohttp.ClientSession, path: str, body: dict[str, Any], **headers: str) -> tuple[Any, Any]:
    """Return the answer, of a stream its events, and the headers."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(path, json=body, headers=sent) as response:
        assert response.status == 200, await response.text()
        if not body.get("stream"):
            return await response.json(), response.headers
        lines = (await response.text()).splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")], response.headers


def call_of(api: str, answer: Any, *, stream: bool) -> dict[str, Any]:
    """Return the tool call of an answer: a block or an item."""
    if api == "messages":
        blocks = [event["content_block"] for event in answer if "content_block" in event] if stream else None
        return next(one for one in blocks or answer["content"] if one["type"] == "tool_use")
    items = answer[-1]["response"]["output"] if stream else answer["output"]
    return next(one for one in items if one["type"] == "function_call")


def conversation(api: str, call: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a request with a tool, with the result of its call where there was one."""
    if api == "messages":
        result = {"type": "tool_result", "tool_use_id": "" if call is None else call["id"], "content": "sunny"}
        step = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        return {"max_tokens": 50, "messages": [USER, *(step if call else [])],
                "tools": [{"name": "f", "input_schema": SCHEMA}]}  # fmt: skip
    output = {"type": "function_call_output", "call_id": "" if call is None else call["call_id"], "output": "sunny"}
    return {"input": [USER, *([call, output] if call else [])],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["messages", "responses"])
async def test_the_result_of_a_tool_goes_to_the_model_that_called_it(pair: Any, api: str, stream: bool) -> None:
    """Whichever gateway it comes to, and although the client sends no id of its conversation."""
    here, there = pair
    for model in ARMS:
        asked = {**conversation(api), "model": model, "stream": stream}
        call = call_of(api, (await post(here, f"/v1/{api}", asked))[0], stream=stream)
        for client in (there, here):
            _, headers = await post(client, f"/v1/{api}", conversation(api, call))
            found = {name: headers[f"x-router-{name}"] for name in ("model", "propensity", "session")}
            assert found == {"model": model, "propensity": "1", "session": "held"}


@pytest.mark.parametrize(
    ("header", "user"),
    [("s-header-%s", None), (None, OLD + "aaaaaaaa-bbbb-%s"), (None, NEW % "cccccccc-dddd-%s"), ("s-both-%s", OLD)],
)
async def test_a_session_of_claude_code_stays_with_its_model(pair: Any, header: str | None, user: str | None) -> None:
    """By its own header, else by the session in the id of its user; sessions of one user are several."""
    here, there = pair
    for number, model in enumerate(ARMS):
        body = {"messages": [USER], "max_tokens": 50}
        if user is not None:
            body["metadata"] = {"user_id": user.replace("%s", f"{number:04}")}
        sent = {} if header is None else {"x_claude_code_session_id": header % number}
        await post(here, "/v1/messages", {**body, "model": model}, **sent)
        _, headers = await post(there, "/v1/messages", body, **sent)
        assert (headers["x-router-model"], headers.get("x-router-session")) == (model, "held")


async def test_other_ids_of_a_session_come_first(pair: Any) -> None:
    """An id of the client's own says more; a user without a session has none."""
    here, there = pair
    body: dict[str, Any] = {"messages": [USER], "max_tokens": 50, "metadata": {"user_id": OLD + "aaaaaaaa-ffff"}}
    await post(here, "/v1/messages", {**body, "model": ARMS[0]}, x_session_id="mine")
    await post(here, "/v1/messages", {**body, "model": ARMS[1]})
    assert (await post(there, "/v1/messages", body, x_session_id="mine"))[1]["x-router-model"] == ARMS[0]
    assert (await post(there, "/v1/messages", body))[1]["x-router-model"] == ARMS[1]
    for user in ("user-1", "session"):
        _, headers = await post(there, "/v1/messages", {**body, "metadata": {"user_id": user}})
        assert "x-router-session" not in headers
