"""The official OpenAI client for Python against a gateway: one JSON line a feature. Arguments: base URL, key."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

BASE_URL, KEY = sys.argv[1:3]
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {"answer": {"type": "string"}}}},
}


def create(feature: str, **more: Any) -> Any:
    messages = more.pop("messages", [{"role": "user", "content": f"python {feature}"}])
    return client.chat.completions.create(**{"model": "auto", "messages": messages, **more})


def chat() -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "python chat"}]
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.model == raw.headers["x-router-model"]
    assert raw.headers["x-request-id"]
    assert answer.usage


def stream() -> None:
    chunks = list(create("stream", stream=True))
    assert len(chunks) > 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert not any(chunk.usage for chunk in chunks)


def usage() -> None:
    assert list(create("usage", stream=True, stream_options={"include_usage": True}))[-1].usage.total_tokens > 0


def tools() -> None:
    message = create("tools", tools=TOOLS).choices[0].message
    assert message.tool_calls[0].function.name == "weather"
    told = [
        {"role": "user", "content": "python tools"},
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"},
    ]
    assert create("tools", tools=TOOLS, messages=told).choices[0].message.content
    deltas = [choice.delta for chunk in create("tools", tools=TOOLS, stream=True) for choice in chunk.choices]
    assert any(call.function.name == "weather" for delta in deltas for call in delta.tool_calls or ())


def structured() -> None:
    assert "answer" in json.loads(create("structured", response_format=SCHEMA).choices[0].message.content)


def image() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "python image"}, picture]
    assert create("image", messages=[{"role": "user", "content": content}]).choices[0].message.content


def n() -> None:
    assert len(create("n", n=2).choices) == 2


def stop() -> None:
    assert "simulated answer" not in create("stop", stop=["simulated answer"]).choices[0].message.content


def logprobs() -> None:
    assert create("logprobs", logprobs=True, top_logprobs=2).choices[0].logprobs.content[0].logprob < 0


def unknown() -> None:
    assert create("unknown", extra_body={"some_new_field": {"a": 1}}).id


def models() -> None:
    ids = [model.id for model in client.models.list()]
    assert ids[0] == "auto"
    assert len(ids) > 2
    assert client.models.retrieve(ids[1]).id == ids[1]


def errors() -> None:
    cases: list[tuple[type[openai.APIStatusError], str, dict[str, Any]]] = [
        (openai.BadRequestError, "invalid_type", {"temperature": "hot"}),
        (openai.NotFoundError, "model_not_found", {"model": "x/none"}),
        (openai.RateLimitError, "upstream_rate_limited", {"extra_headers": {"x-simulate": "status-429"}}),
        (openai.InternalServerError, "upstream_error", {"extra_headers": {"x-simulate": "status-500"}}),
    ]
    for kind, code, arguments in cases:
        raises(kind, code, functools.partial(create, "errors", **arguments))
    raises(openai.AuthenticationError, "invalid_api_key", client.with_options(api_key="wrong").models.list)
    named = {"X-Request-ID": f"python-{time.time_ns()}"}
    create("errors", extra_headers=named)
    raises(openai.ConflictError, "duplicate_request_id", lambda: create("errors", extra_headers=named))


def cut() -> None:
    broken = create("cut", stream=True, extra_headers={"x-simulate": "cut"})
    raises(openai.APIError, "upstream_cut", lambda: list(broken))


def raises(kind: type[openai.APIError], code: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except kind as error:
        if error.code != code:
            raise AssertionError(f"{error.code} instead of {code}") from error
    else:
        raise AssertionError(f"no {kind.__name__}")


for run in (chat, stream, usage, tools, structured, image, n, stop, logprobs, unknown, models, errors, cut):
    problem = None
    try:
        run()
    except Exception as caught:  # noqa: BLE001 - told to the test
        problem = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"feature": run.__name__, "error": problem}), flush=True)
