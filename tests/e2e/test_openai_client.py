"""The official OpenAI client works unmodified."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from deploy.local.stack import Stack

ASKED: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stack.plan.gateway_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_chat(sdk: openai.AsyncOpenAI) -> None:
    """A completion comes back parsed, with the model that answered and the id for feedback."""
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=ASKED)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.model == raw.headers["x-router-model"]
    assert raw.headers["x-request-id"]
    assert answer.usage is not None


async def test_stream(sdk: openai.AsyncOpenAI) -> None:
    """A stream arrives in several chunks; the usage chunk is last, because it was asked for."""
    stream = await sdk.chat.completions.create(
        model="auto", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert len(chunks) > 3
    assert text
    assert chunks[-1].usage is not None


async def test_tools_pass_through(sdk: openai.AsyncOpenAI) -> None:
    """Tool calls come back whole and streamed, and the tool's result can be sent."""
    answer = await sdk.chat.completions.create(model="auto", messages=ASKED, tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    told = [*ASKED, message.model_dump(exclude_none=True)]
    told.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"})
    answer = await sdk.chat.completions.create(model="auto", messages=told, tools=TOOLS)
    assert answer.choices[0].message.content
    stream = await sdk.chat.completions.create(model="auto", messages=ASKED, tools=TOOLS, stream=True)
    names = [
        call.function.name
        async for chunk in stream
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
        if call.function and call.function.name
    ]
    assert names == ["weather"]


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    """`auto` and every arm are listed, and each listed one can be retrieved."""
    listed = [model.id async for model in sdk.models.list()]
    assert listed[0] == "auto"
    assert len(listed) > 5
    assert (await sdk.models.retrieve(listed[1])).id == listed[1]


async def test_errors_are_typed(sdk: openai.AsyncOpenAI) -> None:
    """Our errors become the client's own exception classes."""
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.chat.completions.create(model="no/such-model", messages=ASKED)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(model="auto", messages=[])
