"""Simulated models list what they can do and keep to it, so that the router's eligibility can be tried by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.simulator import wire
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.capabilities import Capabilities
from deploy.simulator.models import DEFAULT_MODELS, InventedWorld, RecordedWorld
from deploy.simulator.recorded_outcomes import load_outcomes
from services.gateway.chat.eligibility import Level, known_shortfall
from shared.clients.model_list import arm_of
from shared.schemas.requirements import requirements_of

Client = TestClient[Any, Any]
THINKS = "deepseek/deepseek-r1-0528:free"
SMALL = "openai/gpt-oss-20b:free"
GPT = "openai/gpt-4o"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
FORCED = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = Simulator(InventedWorld(), Pace(speed=100, failures=0), random.Random(0)).application()
    async with TestClient(TestServer(app)) as client:
        yield client


def asks(*parts: object, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}, *parts] if parts else text
    return {"messages": [{"role": "user", "content": content}], **fields}


@pytest.mark.parametrize(
    ("model", "body", "status", "words"),
    [
        (THINKS, asks(IMAGE), 404, "No endpoints found that support image input"),
        (GPT, asks(AUDIO), 404, "No endpoints found that support audio input"),
        (THINKS, asks(tools=TOOLS), 404, "No endpoints found that support tool use."),
        (THINKS, asks(tool_choice=FORCED), 404, "No endpoints found that support the provided 'tool_choice' value."),
        (THINKS, asks(response_format=SCHEMA), 404, "No endpoints found that can handle the requested parameters."),
        (GPT, asks(modalities=["text", "image"]), 404, "No endpoints found that support the requested output"),
        (SMALL, asks(max_tokens=8193), 400, "max_tokens is too large: 8193."),
        (SMALL, asks(text="word " * 32_000), 400, "This endpoint's maximum context length is 32768 tokens."),
        (SMALL, asks(text="word " * 22_000, max_tokens=8000), 400, "This endpoint's maximum context length is 32768"),
    ],
)
async def test_a_model_refuses_what_it_cannot_do_in_openrouters_words(
    client: Client, model: str, body: dict[str, Any], status: int, words: str
) -> None:
    """And what the router reads of the list says the same of it."""
    answer = await client.post("/v1/chat/completions", json={"model": model, **body})
    told = (await answer.json())["error"]
    assert (answer.status, told["code"]) == (status, status)
    assert told["message"].startswith(words)
    listed = next(entry for entry in (await (await client.get("/v1/models")).json())["data"] if entry["id"] == model)
    arm = arm_of(listed)
    assert arm is not None
    shortfall = known_shortfall(arm, requirements_of(body))
    assert shortfall is not None
    assert shortfall.level is (Level.DOUBTFUL if "context" in words else Level.UNFIT)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (GPT, asks(IMAGE, FILE, tools=TOOLS, tool_choice=FORCED)),
        (f"{GPT}:nitro", asks(response_format=SCHEMA)),
        (THINKS, asks(FILE, logprobs=True)),
        (SMALL, asks(max_tokens=8192, reasoning={"effort": "low"})),
    ],
)
async def test_a_model_does_what_it_can(client: Client, model: str, body: dict[str, Any]) -> None:
    """Files are parsed for any model, and wishes that a model does not know are ignored."""
    assert (await client.post("/v1/chat/completions", json={"model": model, **body})).status == 200


def test_the_list_has_models_of_every_kind() -> None:
    """With tools and without, with images and without, with much room and little."""
    able = {model.id: model.can for model in DEFAULT_MODELS}
    for has in (
        lambda can: "tools" in can.parameters,
        lambda can: "image" in can.inputs,
        lambda can: can.context > 40_000,
        lambda can: can.max_output is None,
    ):
        assert {bool(has(can)) for can in able.values()} == {True, False}


def test_recorded_models_can_do_everything() -> None:
    """What was recorded is answered, whatever a real model of that name could do."""
    for model in RecordedWorld(load_outcomes(None)).models.values():
        assert model.can == Capabilities()
        assert arm_of(wire.listed(model)) is not None
