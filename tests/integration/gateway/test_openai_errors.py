"""The official OpenAI client raises its own classes for our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.integration.gateway.process import BODY, Gateway

KEY = "key-of-the-test"


@pytest.fixture
async def gateway(gateways: Any, redis_url: str) -> Gateway:
    started: Gateway = await gateways(REDIS_URL=redis_url, API_KEYS=KEY)
    return started


@pytest.fixture
async def sdk(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


async def ask(sdk: openai.AsyncOpenAI, simulate: str = "", **changes: Any) -> Any:
    arguments: dict[str, Any] = {"model": "auto", **BODY, **changes}
    headers = {"x-simulate": simulate} if simulate else {}
    return await sdk.chat.completions.create(**arguments, extra_headers=headers)


async def test_every_kind_of_failure_is_an_exception_of_the_sdk(sdk: openai.AsyncOpenAI) -> None:
    """Wrong key, bad field, unknown model, all arms limited, all arms broken: each has its class and code."""
    cases: list[tuple[type[openai.APIStatusError], str, dict[str, Any]]] = [
        (openai.BadRequestError, "invalid_type", {"temperature": "hot"}),
        (openai.NotFoundError, "model_not_found", {"model": "x/none"}),
        (openai.RateLimitError, "upstream_rate_limited", {"simulate": "status-429"}),
        (openai.InternalServerError, "upstream_error", {"simulate": "status-500"}),
    ]
    for kind, code, arguments in cases:
        with pytest.raises(kind) as error:
            await ask(sdk, **arguments)
        assert error.value.code == code
        assert error.value.response.headers["x-request-id"]
    with pytest.raises(openai.AuthenticationError):
        await ask(sdk.with_options(api_key="wrong"))
    named = sdk.with_options(default_headers={"X-Request-ID": "mine"})
    await ask(named)
    with pytest.raises(openai.ConflictError):
        await ask(named)


async def test_a_cut_stream_raises_instead_of_ending(sdk: openai.AsyncOpenAI) -> None:
    """Whoever iterates a broken answer learns that it is broken."""
    stream = await ask(sdk, "cut", stream=True)
    with pytest.raises(openai.APIError) as error:
        [chunk async for chunk in stream]
    assert error.value.code == "upstream_cut"


async def test_retries_of_the_sdk_end_in_an_answer(sdk: openai.AsyncOpenAI) -> None:
    """A model that fails once does not even reach the client: another arm answers in the same call."""
    answer = await ask(sdk, "status-503;model=openai/gpt-4o-mini")
    assert answer.model == "anthropic/claude-3.5-haiku"


async def test_structured_output_and_unknown_fields_pass_through(sdk: openai.AsyncOpenAI) -> None:
    """What we do not know is the upstream's business."""
    answer = await ask(
        sdk, response_format={"type": "json_object"}, n=2, logprobs=True, extra_body={"some_new_field": {"a": 1}}
    )
    assert len(answer.choices) >= 1
