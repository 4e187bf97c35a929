"""LangChain's ChatOpenAI against a gateway: one JSON line a feature. Arguments: base URL, key.

Runs in an environment of its own (`make langchain`): it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

BASE_URL, KEY = sys.argv[1:3]
SCHEMA = {"title": "answer", "type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def model(**more: Any) -> Any:
    return ChatOpenAI(**{"model": "auto", "base_url": BASE_URL, "api_key": KEY, "max_retries": 0, **more})


def chat() -> None:
    answer = model().invoke("langchain chat")
    assert answer.content
    assert answer.usage_metadata["total_tokens"] > 0


def stream() -> None:
    chunks = list(model(stream_usage=False).stream("langchain stream"))
    assert len(chunks) > 3
    assert "".join(chunk.content for chunk in chunks)


def usage() -> None:
    total = None
    for chunk in model(stream_usage=True).stream("langchain usage"):
        total = chunk if total is None else total + chunk
    assert total is not None
    assert total.usage_metadata["total_tokens"] > 0


def tools() -> None:
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return "sunny"

    bound = model().bind_tools([weather])
    called = bound.invoke("langchain tools")
    assert called.tool_calls[0]["name"] == "weather"
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    assert bound.invoke([HumanMessage("langchain tools"), called, result]).content


def structured() -> None:
    answer = model().with_structured_output(SCHEMA, method="json_schema").invoke("langchain structured")
    assert "answer" in answer


def image() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert model().invoke([HumanMessage([{"type": "text", "text": "langchain image"}, picture])]).content


def n() -> None:
    assert len(model(n=2).generate([[HumanMessage("langchain n")]]).generations[0]) == 2


def stop() -> None:
    assert "simulated answer" not in model().invoke("langchain stop", stop=["simulated answer"]).content


def logprobs() -> None:
    answer = model(logprobs=True, top_logprobs=2).invoke("langchain logprobs")
    assert answer.response_metadata["logprobs"]["content"]


def unknown() -> None:
    assert model(extra_body={"some_new_field": {"a": 1}}).invoke("langchain unknown").content


def errors() -> None:
    for kind, more in (
        (openai.NotFoundError, {"model": "x/none"}),
        (openai.AuthenticationError, {"api_key": "wrong"}),
        (openai.RateLimitError, {"default_headers": {"x-simulate": "status-429"}}),
        (openai.InternalServerError, {"default_headers": {"x-simulate": "status-500"}}),
    ):
        try:
            model(**more).invoke("langchain errors")
        except kind:
            continue
        raise AssertionError(f"no {kind.__name__}")


def cut() -> None:
    try:
        list(model(default_headers={"x-simulate": "cut"}).stream("langchain cut"))
    except openai.APIError:
        return
    raise AssertionError("a cut stream looked complete")


for run in (chat, stream, usage, tools, structured, image, n, stop, logprobs, unknown, errors, cut):
    problem = None
    try:
        run()
    except Exception as caught:  # noqa: BLE001 - told to the test
        problem = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"feature": run.__name__, "error": problem}), flush=True)
