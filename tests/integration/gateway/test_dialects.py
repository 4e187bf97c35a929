"""Responses and Messages over HTTP: the same gateway as for chat, in another shape."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.gateway.http.auth import digest_of
from shared.errors import UpstreamError
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World, settings_for
from tests.support.served_gateway import Client, ask, serving

MESSAGES = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}], "max_tokens": 50}
RESPONSES = {"input": "What is the capital of Peru?", "max_output_tokens": 50}
VERSION = {"anthropic_version": "2023-06-01"}
BOTH = pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGES), ("/v1/responses", RESPONSES)])
KEY = "user-key-1234"


def world_of(folder: Path, reply: Reply | None = None, **settings: object) -> World:
    world = World(settings_for(folder, **settings))
    for arm in ("a/small", "b/middle", "c/large", "d/spare"):
        world.upstream.tell(arm, reply or Reply("Lima it is", Usage(12, 3, 0.0002)))
    return world


async def events(client: Client, path: str, body: dict[str, Any]) -> list[Any]:
    headers = {"anthropic-version": "2023-06-01"}
    async with client.post(path, json={**body, "stream": True}, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["x-router-model"]
        lines = (await response.text()).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


@BOTH
async def test_records_and_feedback_are_the_same(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    """The request is known by its `x-request-id`, with tokens, cost and session; it can be rated."""
    world = world_of(tmp_path)
    async with serving(world) as client:
        sent = {"X-Request-ID": "r1", "x-session-id": "s1", **VERSION}
        status, answer, headers = await ask(client, path, body, **sent)
        assert status == 200
        assert "Lima it is" in json.dumps(answer)
        assert headers["x-router-cost-usd"] == "0.000200000"
        assert (await ask(client, "/v1/feedback", {"request_id": "r1", "score": 1}))[0] == 202
        assert (await events(client, path, body))[-1]["type"] in {"message_stop", "response.completed"}
        assert (await ask(client, path, body, **sent))[0] == 409
    record, streamed = world.records
    assert (record.public_id, record.outcome.arm) == ("r1", answer["model"])
    assert (record.outcome.prompt_tokens, record.outcome.completion_tokens) == (12, 3)
    assert record.session is not None
    assert streamed.outcome.streamed
    assert world.upstream.calls[0].body["messages"] == MESSAGES["messages"]
    assert world.upstream.calls[0].body["max_completion_tokens"] == 50


@BOTH
async def test_usage_of_a_stream_reaches_the_client(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    """Without `stream_options` in the upstream's body: an upstream that refuses ours is called again without."""
    world = world_of(tmp_path)
    async with serving(world) as client:
        found = await events(client, path, body)
    usage = next(event for event in reversed(found) if "usage" in event or "response" in event)
    tokens = usage["usage"] if "usage" in usage else usage["response"]["usage"]
    assert (tokens["input_tokens"], tokens["output_tokens"]) == (12, 3)
    assert "stream_options" not in world.upstream.calls[0].body


ERRORS: list[tuple[dict[str, Any], dict[str, str], tuple[int, str, str]]] = [
    ({}, {"authorization": "Bearer wrong"}, (401, "authentication_error", "invalid_api_key")),
    ({"model": "x/none"}, {}, (404, "not_found_error", "model_not_found")),
    ({"temperature": "hot"}, {}, (400, "invalid_request_error", "invalid_type")),
    ({"api_base": "http://a"}, {}, (400, "invalid_request_error", "unsupported_parameter")),
]


@pytest.mark.parametrize(("more", "headers", "expected"), ERRORS)
async def test_errors_of_messages_have_its_shape(
    tmp_path: Path, more: dict[str, Any], headers: dict[str, str], expected: tuple[int, str, str]
) -> None:
    """Also those that come before the handler; the message names the field."""
    async with serving(world_of(tmp_path, API_KEYS=KEY)) as client:
        sent = {"authorization": f"Bearer {KEY}", **VERSION, **headers}
        found, body, _ = await ask(client, "/v1/messages", {**MESSAGES, **more}, **sent)
    assert body["type"] == "error"
    assert (found, body["error"]["type"], body["error"]["code"]) == expected
    assert body["request_id"]
    if more:
        assert body["error"]["message"].startswith(f"{next(iter(more))}: ")


async def test_errors_of_responses_name_its_own_fields(tmp_path: Path) -> None:
    """Not those of the chat body that it becomes; the rest is OpenAI's shape."""
    world = world_of(tmp_path)
    world.upstream.arms = tuple(replace(arm, max_output_tokens=10) for arm in ARMS)
    async with serving(world) as client:
        for path, body, field in (
            ("/v1/responses", RESPONSES, "max_output_tokens"),
            ("/v1/chat/completions", {"messages": MESSAGES["messages"], "max_tokens": 50}, "max_tokens"),
        ):
            status, answer, _ = await ask(client, path, body)
            assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "no_capable_model", field)
            assert set(answer["error"]) == {"message", "type", "param", "code"}


async def test_the_limit_that_messages_require_is_no_need(tmp_path: Path) -> None:
    """Clients send a large one in every request: each model gets what it supports of it, and none is left out."""
    world = world_of(tmp_path)
    limits = {"a/small": (10, None), "b/middle": (None, 40), "c/large": (100, 10_000), "d/spare": (None, None)}
    world.upstream.arms = tuple(
        replace(arm, max_output_tokens=limits[arm.id][0], context_tokens=limits[arm.id][1]) for arm in ARMS
    )
    async with serving(world) as client:
        _, route, _ = await ask(client, "/v1/messages", {**MESSAGES, "model": "a/small"}, **VERSION)
        assert route["content"]
        for arm in ("b/middle", "c/large", "d/spare"):
            assert (await ask(client, "/v1/messages", {**MESSAGES, "model": arm}, **VERSION))[0] == 200
        assert (await ask(client, "/v1/messages", MESSAGES, **VERSION))[0] == 200
    sent: list[Any] = [call.body["max_completion_tokens"] for call in world.upstream.calls[:4]]
    assert (sent[0], sent[2], sent[3]) == (10, 50, 50)
    assert 10 < sent[1] < 40  # what the prompt leaves of the context
    assert not world.records[-1].decision.unfit


async def test_the_version_header_is_required(tmp_path: Path) -> None:
    """As Anthropic requires it: its shape may depend on it one day."""
    async with serving(world_of(tmp_path)) as client:
        for path in ("/v1/messages", "/messages/count_tokens"):
            status, body, _ = await ask(client, path, MESSAGES)
            assert (status, body["error"]["type"]) == (400, "invalid_request_error")
            assert body["error"]["message"].startswith("anthropic-version: ")


async def test_the_key_may_come_as_x_api_key(tmp_path: Path) -> None:
    """On every route; a bearer key goes before it."""
    async with serving(world_of(tmp_path, API_KEYS=KEY)) as client:
        for path, body in (("/v1/messages", MESSAGES), ("/v1/chat/completions", {"messages": MESSAGES["messages"]})):
            assert (await ask(client, path, body, x_api_key=KEY, **VERSION))[0] == 200
            assert (await ask(client, path, body, x_api_key="wrong", **VERSION))[0] == 401
            sent = {"x-api-key": KEY, "authorization": "Bearer wrong", **VERSION}
            assert (await ask(client, path, body, **sent))[0] == 401


async def test_tokens_are_counted_without_a_call(tmp_path: Path) -> None:
    """Longer prompts have more of them."""
    world = world_of(tmp_path)
    async with serving(world) as client:
        _, short, _ = await ask(client, "/v1/messages/count_tokens", MESSAGES, **VERSION)
        longer = {**MESSAGES, "system": "Answer in one word, please. " * 20}
        _, long, _ = await ask(client, "/v1/messages/count_tokens", longer, **VERSION)
    assert 5 <= short["input_tokens"] < 20
    assert 100 < long["input_tokens"] - short["input_tokens"] < 300
    assert not world.upstream.calls


async def test_dropped_fields_are_named(tmp_path: Path) -> None:
    """So that no wish is ignored in silence."""
    async with serving(world_of(tmp_path)) as client:
        _, _, headers = await ask(client, "/v1/responses", {**RESPONSES, "truncation": "auto", "new": 1})
        assert headers["x-router-ignored"] == "truncation, new"


@BOTH
async def test_a_broken_stream_ends_in_an_error(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    """In the dialect's own event, and the record says that the answer is cut."""
    world = world_of(tmp_path, Reply("Lima it is", error=UpstreamError("cut", spent=True), break_after=1))
    async with serving(world) as client:
        last = (await events(client, path, body))[-1]
    error = last["error"] if last["type"] == "error" else last["response"]["error"]
    assert last["type"] in {"error", "response.failed"}
    assert error["code"] == "upstream_cut"
    assert world.records[0].outcome.status == "truncated"


@BOTH
async def test_admission_and_quota_count_them(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    """A key's limit of requests holds for all dialects together."""
    limits = f"{digest_of(KEY)[:8]}:rpm=1"
    async with serving(world_of(tmp_path, API_KEYS=KEY, KEY_LIMITS=limits)) as client:
        sent = {"x_api_key": KEY, **VERSION}
        assert (await ask(client, path, body, **sent))[0] == 200
        status, refused, headers = await ask(client, path, body, **sent)
        assert (status, headers["Retry-After"] != "") == (429, True)
        assert refused["error"]["code"] == "rate_limit_exceeded"


async def test_a_wrong_method_is_refused_in_the_dialects_shape(tmp_path: Path) -> None:
    """With the methods that the path has; elsewhere the shape is OpenAI's."""
    async with serving(world_of(tmp_path)) as client:
        for path, named in (("/v1/messages", True), ("/messages/count_tokens", True), ("/v1/responses", False)):
            async with client.get(path) as response:
                body = await response.json()
                assert (response.status, response.headers["Allow"]) == (405, "POST")
            assert ("request_id" in body, body.get("type")) == ((True, "error") if named else (False, None))
            assert body["error"]["code"] == "method_not_allowed"
            assert "use POST" in body["error"]["message"]
