"""What agent frameworks need of the simulated models: tools in several steps, prompt-only formats, other dialects."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.simulator.app import Pace, Simulator
from deploy.simulator.models import InventedWorld
from deploy.simulator.schemas import example_of

Client = TestClient[Any, Any]
MODEL = "openai/gpt-4o"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": {"x": {"type": "integer"}}}}}
    for name in ("first", "second", "final_result")
]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = Simulator(InventedWorld(), Pace(speed=100, failures=0), random.Random(0)).application()
    async with TestClient(TestServer(app)) as client:
        yield client


async def said(client: Client, messages: list[Any], **more: Any) -> Any:
    response = await client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **more})
    assert response.status == 200
    return (await response.json())["choices"][0]["message"]


async def loop(client: Client, text: str, **more: Any) -> list[str]:
    """Return the names of the tools that are called one after another; "" for a text at the end."""
    messages: list[Any] = [{"role": "user", "content": text}]
    names: list[str] = []
    while len(names) < 6:
        message = await said(client, messages, tools=TOOLS, **more)
        calls = message.get("tool_calls")
        names.append(calls[0]["function"]["name"] if calls else "")
        if not calls or names[-1] == "final_result":
            break
        assert json.loads(calls[0]["function"]["arguments"]) == {"x": 1}
        messages += [message, {"role": "tool", "tool_call_id": calls[0]["id"], "content": "done"}]
    return names


async def test_the_tools_that_the_user_names_are_called_in_that_order(client: Client) -> None:
    """One after another; without a name the first one alone."""
    assert await loop(client, "Use second, then first.") == ["second", "first", ""]
    assert await loop(client, "Help me") == ["first", ""]
    assert await loop(client, "Use second", tool_choice="none") == [""]


async def test_an_agent_that_must_call_a_tool_gets_its_result_by_the_last_one(client: Client) -> None:
    """As frameworks do that return their output by a tool."""
    assert await loop(client, "Use second", tool_choice="required") == ["second", "final_result"]


async def test_fields_between_markers(client: Client) -> None:
    """DSPy's format: those that the last message asks for."""
    ask = "[[ ## question ## ]]\nWhy?\n\nRespond with the fields `[[ ## answer ## ]]` and `[[ ## completed ## ]]`."
    text = (await said(client, [{"role": "user", "content": ask}]))["content"]
    assert text.startswith("[[ ## answer ## ]]\n[simulated")
    assert text.endswith("[[ ## completed ## ]]")
    assert "question" not in text


@pytest.mark.parametrize("word", ["Answer:", "Final Answer:"])
async def test_react(client: Client, word: str) -> None:
    """Thought and answer, with the word that the prompt uses."""
    prompt = f"Use this format:\nThought: what you think\n{word} your answer"
    text = (await said(client, [{"role": "system", "content": prompt}, {"role": "user", "content": "Why?"}]))["content"]
    assert text.startswith("Thought: ")
    assert text.splitlines()[1].startswith(f"{word} [simulated")


@pytest.mark.parametrize(("wanted", "fence"), [(None, True), ({"type": "json_object"}, False)])
async def test_a_schema_in_the_prompt_is_followed(client: Client, wanted: Any, fence: bool) -> None:
    """Also behind other braces, and in JSON mode without a fence."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}}
    prompt = f"Answer {{briefly}} in JSON that fits this schema: {json.dumps(schema)}"
    more = {"response_format": wanted} if wanted else {}
    text = (await said(client, [{"role": "user", "content": prompt}], **more))["content"]
    assert text.startswith("```json\n") == fence
    assert json.loads(text.removeprefix("```json").removesuffix("```")) == {"city": "simulated", "n": 1}


def test_examples_of_schemas() -> None:
    """References, alternatives, constants and lower bounds, as pydantic writes them."""
    schema = {
        "$defs": {"A": {"type": "object", "properties": {"kind": {"const": "a"}}}},
        "type": "object",
        "properties": {
            "one": {"$ref": "#/$defs/A"}, "list": {"type": "array", "items": {"$ref": "#/$defs/A"}, "minItems": 1},
            "maybe": {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "null"}]}, "flag": {"type": ["boolean"]},
        },
    }  # fmt: skip
    assert example_of(schema) == {"one": {"kind": "a"}, "list": [{"kind": "a"}], "maybe": 5, "flag": True}
    endless = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}
    assert json.dumps(example_of(endless)).count("a") > 1


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [("/v1/responses", {"input": "Hello"}, "response.completed"),
     ("/v1/messages", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 99}, "message_stop")],
)  # fmt: skip
async def test_other_dialects(client: Client, path: str, body: dict[str, Any], last: str) -> None:
    """The same text as in chat, whole and streamed; capabilities count there, too."""
    text = (await said(client, [{"role": "user", "content": "Hello"}]))["content"]
    whole = await (await client.post(path, json={"model": MODEL, **body})).json()
    content = whole["content"] if "content" in whole else whole["output"][0]["content"]
    assert content[0]["text"] == text
    response = await client.post(path, json={"model": MODEL, **body, "stream": True})
    events = [line for line in (await response.text()).splitlines() if line.startswith("event: ")]
    assert events[-1] == f"event: {last}"
    long = {"max_tokens": 10**6, "max_output_tokens": 10**6}
    assert (await client.post(path, json={"model": MODEL, **body, **long})).status == 400
