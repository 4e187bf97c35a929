"""Responses and Messages at an upstream that has these APIs: requests and answers pass unchanged, and count alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_upstream as raw
from tests.support.served_gateway import ask
from tests.support.several_upstreams import FILE, Site, three_upstreams

VERSION = {"anthropic-version": "2023-06-01", "anthropic-beta": "some-beta"}
CACHED = {"type": "text", "text": "A long text.", "cache_control": {"type": "ephemeral"}}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
UNSIGNED = {"type": "thinking", "thinking": "Ours.", "signature": ""}
USER = {"role": "user", "content": "What is the capital of Peru?"}
OURS = "01a22fca-703e-7ed9-ab3a-71354535e3b3"
REASONING = {"type": "reasoning", "id": "rs_68af", "summary": [], "encrypted_content": "gAAA"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}

MESSAGES: dict[str, Any] = {
    "max_tokens": 50, "system": [CACHED], "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    "messages": [USER, {"role": "assistant", "content": [SIGNED, {"type": "text", "text": "Well."}]}, USER],
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "input": [USER, REASONING, {"type": "message", "role": "assistant", "content": "Well."}, USER],
    "max_output_tokens": 50, "tools": [TOOL], "store": False, "include": ["reasoning.encrypted_content"],
}  # fmt: skip
BODIES = {"messages": MESSAGES, "responses": RESPONSES}

USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Lima"}}
WHOLE: dict[str, dict[str, Any]] = {
    "messages": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "gpt-small", "stop_reason": "tool_use",
        "content": [SIGNED, {"type": "text", "text": "Lima it is"}, USE],
        "usage": {"input_tokens": 1000, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 500,
                  "output_tokens": 1000},
    },
    "responses": {
        "id": "resp_1", "object": "response", "model": "gpt-small", "status": "completed", "error": None,
        "output": [
            REASONING,
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Lima it is"}]},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 500}, "output_tokens": 1000},
    },
}  # fmt: skip


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\n".encode() + raw.event({"type": kind, **fields})


STREAMS = {
    "messages": [
        event("message_start", message={"usage": {"input_tokens": 1000, "cache_read_input_tokens": 1000,
                                                  "output_tokens": 1}}),
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"}),
        event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=1, delta={"type": "text_delta", "text": "Lima it is"}),
        event("content_block_start", index=2, content_block={**USE, "input": {}}),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": "{}"}),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1000}),
        event("message_stop"),
    ],
    "responses": [
        event("response.created", response={"id": "resp_1"}),
        event("response.output_text.delta", output_index=0, delta="Lima it is"),
        event("response.output_item.added", output_index=1,
              item={"type": "function_call", "call_id": "call_1", "name": "weather"}),
        event("response.function_call_arguments.delta", output_index=1, delta="{}"),
        event("response.completed", response=WHOLE["responses"]),
    ],
}  # fmt: skip
both = pytest.mark.parametrize("api", ["messages", "responses"])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    file = FILE.replace("hosted: {", "hosted: {dialects: [chat, responses, messages], ")
    async with three_upstreams(tmp_path, file=file) as site:
        yield site


async def stream(site: Site, api: str, **more: object) -> bytes:
    body = {"model": "small", **BODIES[api], "stream": True, **more}
    async with site.client.post(f"/v1/{api}", json=body, headers=VERSION) as answer:
        assert answer.status == 200
        return await answer.read()


async def whole(site: Site, api: str, **more: object) -> tuple[int, Any]:
    async with site.client.post(f"/v1/{api}", json={"model": "small", **BODIES[api], **more}, headers=VERSION) as one:
        return one.status, await one.json()


@both
async def test_a_whole_answer_passes_unchanged(site: Site, api: str) -> None:
    """Reasoning with its signature and `cache_control` survive; the record has tokens, cost, tool calls and checks."""
    site.scripts["hosted"] = raw.whole(WHOLE[api])
    assert await whole(site, api, router={"explore": False}, session_id="s") == (200, WHOLE[api])
    (seen,) = site.calls("hosted")
    assert seen.line.startswith(f"POST /api/v1/{api}?api-version=7 ")
    assert seen.json == {**BODIES[api], "model": "gpt-small"}
    for name, value in VERSION.items():
        assert seen.headers.get(name) == (value if api == "messages" else None)
    (record,) = site.world.records
    outcome = record.outcome
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost_source) == (2000, 1000, "price")
    assert outcome.cost_usd == pytest.approx(0.004)
    assert outcome.failed_checks == ()


@both
async def test_a_stream_passes_unchanged_and_ends_after_its_record(site: Site, api: str) -> None:
    """The last event is held back until the record is stored: whoever sees it may rate the answer."""
    site.scripts["hosted"] = raw.streamed([b": comment\n\n", *STREAMS[api]])
    got = await stream(site, api)
    shown = [one + b"\n\n" for one in got.split(b"\n\n") if one and not one.startswith(b":")]
    assert [json.loads(one.split(b"data: ")[1]) for one in shown] == [
        json.loads(one.split(b"data: ")[1]) for one in STREAMS[api]
    ]
    assert [one.split(b"\n")[0] for one in shown] == [one.split(b"\n")[0] for one in STREAMS[api]]
    (record,) = site.world.records
    outcome = record.outcome
    assert (outcome.status, outcome.prompt_tokens, outcome.completion_tokens) == ("answered", 2000, 1000)
    assert outcome.failed_checks == ()
    sent = {"request_id": record.public_id, "score": 1}
    assert (await ask(site.client, "/v1/feedback", sent))[0] == 202


@both
async def test_a_broken_stream_ends_in_the_apis_own_error(site: Site, api: str) -> None:
    """After events of the upstream, which the router cannot continue."""
    site.scripts["hosted"] = raw.streamed(STREAMS[api][:3], end="cut")
    *_, last = (await stream(site, api)).strip().split(b"\n\n")
    assert last.startswith(b"event: error\n")
    said = json.loads(last.split(b"data: ")[1])
    assert (said if api == "responses" else said["error"])["code"] == "upstream_cut"
    assert site.world.records[0].outcome.status == "truncated"


@both
async def test_an_error_within_a_stream_is_one(site: Site, api: str) -> None:
    """Before the first text, too: the arm is asked again, for the client has named it."""
    said = {"type": "overloaded_error", "code": "server_error", "message": "No"}
    error = {"messages": event("error", error=said), "responses": event("response.failed", response={"error": said})}
    site.scripts["hosted"] = raw.streamed([error[api]])
    body = {"model": "small", **BODIES[api], "stream": True}
    async with site.client.post(f"/v1/{api}", json=body, headers=VERSION) as answer:
        assert answer.status == 502
    assert len(site.calls("hosted")) == 2


@both
async def test_another_upstream_gets_a_translation(site: Site, api: str) -> None:
    """Where the one with the API fails, and the client leaves the choice."""
    site.scripts["hosted"] = raw.whole({"error": {"message": "down"}}, status="503 Down")
    status, answer = await whole(site, api, model="auto", models=["small", "v/big"], router={"weights": {"cost": -1}})
    for _ in range(20):
        if site.calls("hosted"):
            break
        status, answer = await whole(site, api, model="auto", models=["small", "v/big"])
    assert status == 200
    assert "Grüße" in json.dumps(answer, ensure_ascii=False)
    assert answer["type" if api == "messages" else "object"] == ("message" if api == "messages" else "response")
    assert site.calls("hosted"), "it was never chosen"
    assert "/chat/completions" in site.calls("router")[-1].line


ONLY_THERE: list[tuple[str, str, object]] = [
    ("responses", "previous_response_id", "resp_0"),
    ("responses", "store", True),
    ("responses", "tools", [{"type": "web_search"}]),
    ("responses", "input", [USER, {"type": "item_reference", "id": "msg_1"}]),
    ("messages", "tools", [{"type": "web_search_20250305", "name": "web_search"}]),
    ("messages", "mcp_servers", [{"type": "url", "url": "https://a", "name": "a"}]),
]


@pytest.mark.parametrize(("api", "name", "value"), ONLY_THERE)
async def test_what_cannot_be_translated_needs_the_api_and_a_model_by_name(
    site: Site, api: str, name: str, value: object
) -> None:
    """Anything else is refused, without a call."""
    answered = {**WHOLE[api], "content": [], "output": []}
    site.scripts["hosted"] = raw.whole(answered)
    assert await whole(site, api, **{name: value}) == (200, answered)
    assert site.calls("hosted")[0].json[name] == value
    for model in ("auto", "v/big", "auto:cheap"):
        status, answer = await whole(site, api, model=model, **{name: value})
        assert (status, answer["error"]["code"]) == (400, "unsupported_parameter")
    status, answer = await whole(site, api, model="auto", models=["small"], **{name: value})
    assert status == 400
    assert len(site.calls("hosted")) == 1
    assert not site.calls("router")


async def test_what_the_router_wrote_is_not_sent_as_the_upstreams_own(site: Site) -> None:
    """Reasoning without a signature, and ids of items: the upstream would refuse or look for them."""
    site.scripts["hosted"] = raw.whole(WHOLE["messages"])
    said = {"role": "assistant", "content": [UNSIGNED, SIGNED, {"type": "text", "text": "Well."}]}
    await whole(site, "messages", messages=[USER, said, USER])
    assert site.calls("hosted")[-1].json["messages"][1]["content"] == said["content"][1:]
    site.scripts["hosted"] = raw.whole(WHOLE["responses"])
    item = {"type": "message", "role": "assistant", "content": "Well."}
    ours = [{"type": "reasoning", "id": f"rs_{OURS}_0", "summary": []}, {**item, "id": f"msg_{OURS}_1"}]
    await whole(site, "responses", input=[USER, *ours, {**item, "id": "msg_68"}, USER])
    assert site.calls("hosted")[-1].json["input"] == [USER, item, {**item, "id": "msg_68"}, USER]


async def test_nothing_is_stored_where_the_router_chooses(site: Site) -> None:
    """OpenAI stores by default; a client that names its model decides that itself."""
    site.scripts["hosted"] = raw.whole(WHOLE["responses"])
    body = {"input": "Hi", "models": ["small"]}
    for model, stored in (("auto", False), ("small", None)):
        async with site.client.post("/v1/responses", json={**body, "model": model}) as answer:
            assert answer.status == 200
        assert site.calls("hosted")[-1].json.get("store") is stored


async def test_a_limit_of_the_answer_fits_the_model(tmp_path: Path) -> None:
    """As in a translation: clients of Messages send a large one."""
    file = FILE.replace("hosted: {", "hosted: {dialects: [chat, messages], ").replace(
        "model: gpt-small,", "model: gpt-small, max_output_tokens: 30,"
    )
    async with three_upstreams(tmp_path, file=file) as site:
        site.scripts["hosted"] = raw.whole(WHOLE["messages"])
        assert (await whole(site, "messages"))[0] == 200
        assert site.calls("hosted")[0].json["max_tokens"] == 30
