"""Capabilities of models, as the HTTP API shows them and routes by them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, ask, serving
from tests.support.values import replace


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path / "spool"))


async def test_models_and_arms_show_what_the_upstream_says_of_their_limits(world: World) -> None:
    """In OpenRouter's names, so that its clients read them; what is unknown is absent."""
    sees = replace(
        world.upstream.arms[0],
        context_tokens=32_000,
        max_output_tokens=4_000,
        input_modalities=frozenset({"text", "image"}),
        output_modalities=frozenset({"text"}),
        parameters=frozenset({"tools", "stop"}),
    )
    short = replace(world.upstream.arms[1], context_tokens=8_000)
    world.upstream.arms = (sees, short, *world.upstream.arms[2:])
    told = {
        "context_length": 32_000,
        "architecture": {"input_modalities": ["image", "text"], "output_modalities": ["text"]},
        "top_provider": {"context_length": 32_000, "max_completion_tokens": 4_000},
        "supported_parameters": ["stop", "tools"],
    }
    async with serving(world) as client:
        _, listed, _ = await ask(client, "/v1/models")
        _, shown, _ = await ask(client, "/arms")
    small, middle, large, _ = [model for model in listed["data"] if "upstream" in model]
    head = {"object": "model", "created": 0, "upstream": "openrouter"}
    prices = [
        {"prompt": prompt, "completion": completion}
        for prompt, completion in (("0.0000001", "0.0000002"), ("0.000001", "0.000002"), ("0.00001", "0.00002"))
    ]
    assert small == {"id": "a/small", **head, "owned_by": "a", "pricing": prices[0], **told}
    eight = {"context_length": 8_000, "top_provider": {"context_length": 8_000}}
    assert middle == {"id": "b/middle", **head, "owned_by": "b", "pricing": prices[1], **eight}
    assert large == {"id": "c/large", **head, "owned_by": "c", "pricing": prices[2]}
    assert {name: shown["data"][0][name] for name in told} == told
    assert not told.keys() & shown["data"][2].keys()


async def test_a_conversation_is_named_by_the_body_then_the_header_then_the_prompt_cache(world: World) -> None:
    """The first of them that is there; each is kept as a hash, and a cache's key is not a session's id."""
    names = {"session_id": "body", "prompt_cache_key": "cache"}
    named = ("body", "header", "prompt_cache_key:cache")
    hashes = [hashlib.sha256(name.encode()).hexdigest()[:32] for name in named]
    sent: list[tuple[dict[str, object], dict[str, str]]] = [
        ({**names}, {"x-session-id": "header"}),
        ({"prompt_cache_key": "cache"}, {"x-session-id": "header"}),
        ({"prompt_cache_key": "cache"}, {}),
        ({"prompt_cache_key": 3}, {}),
        ({"prompt_cache_key": ""}, {}),
    ]
    async with serving(world) as client:
        for number, (fields, headers) in enumerate(sent):
            await ask(client, "/v1/chat/completions", {**BODY, **fields}, X_Request_ID=f"r{number}", **headers)
        told = [(await ask(client, f"/v1/requests/r{number}"))[1]["session"] for number in range(5)]
    assert told == [*hashes, None, None]
    assert world.upstream.calls[2].body["prompt_cache_key"] == "cache"
