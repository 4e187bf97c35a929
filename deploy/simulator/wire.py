"""Wire format: bodies in the form of OpenAI and OpenRouter."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.simulator.models import Reply, SimulatedModel
from deploy.simulator.recorded_outcomes import CHARS_PER_TOKEN

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a response: text or tool calls, and the finish reason."""

    text: str | None
    tool_calls: list[dict[str, Any]] | None
    finish_reason: str
    logprobs: bool = False

    def message(self) -> dict[str, Any]:
        """Return the `message` of a whole response."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        return message | ({"tool_calls": self.tool_calls} if self.tool_calls else {})

    def logprobs_of(self, text: str | None) -> dict[str, Any] | None:
        """Return OpenAI's `logprobs` of a text, one token per word; None when not requested."""
        if not self.logprobs or not text:
            return None
        return {
            "content": [
                {"token": word, "logprob": -0.25, "bytes": list(word.encode()), "top_logprobs": []}
                for word in _words(text)
            ],
            "refusal": None,
        }

    def deltas(self) -> Iterator[dict[str, Any]]:
        """Yield the `delta`s of a stream, the role first."""
        yield {"role": "assistant", "content": "" if self.text is not None else None}
        for index, call in enumerate(self.tool_calls or ()):
            arguments = call["function"]["arguments"]
            head = call | {"index": index, "function": call["function"] | {"arguments": ""}}
            yield {"tool_calls": [head]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
        for word in _words(self.text or ""):
            yield {"content": word}


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)


def choice_of(body: Mapping[str, Any], text: str) -> Choice:
    """Return the choice that a request expects: tool calls, JSON, or text up to `stop` and `max_tokens`."""
    calls = _tool_calls(body)
    if calls:
        return Choice(None, calls, "tool_calls")
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}:
        return Choice(_json_text(wanted, text), None, "stop")
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0] if stop else text
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and 0 < limit * CHARS_PER_TOKEN < len(text):
        return Choice(text[: limit * CHARS_PER_TOKEN], None, "length")
    return Choice(text, None, "stop", logprobs=body.get("logprobs") is True)


def _tool_calls(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return a call of the named or first tool; None after a tool result, and with `tool_choice: none`."""
    tools, wanted = body.get("tools"), body.get("tool_choice")
    if not tools or wanted == "none" or body["messages"][-1].get("role") == "tool":
        return None
    name = wanted["function"]["name"] if isinstance(wanted, dict) else tools[0]["function"]["name"]
    tool = next((tool["function"] for tool in tools if tool["function"]["name"] == name), {"name": name})
    properties = tool.get("parameters", {}).get("properties", {})
    arguments = {key: _example_of(schema) for key, schema in properties.items()}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return [{"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}]


def _example_of(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: _example_of(inner) for key, inner in schema.get("properties", {}).items()}
    return {"integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}.get(
        schema.get("type", ""), "simulated"
    )


def _json_text(wanted: Mapping[str, Any], text: str) -> str:
    schema = wanted.get("json_schema", {}).get("schema")
    return json.dumps(_example_of(schema) if schema else {"answer": text})


def completion(model: SimulatedModel, choices: Sequence[Choice], usage: dict[str, Any] | None, quality: float) -> bytes:
    """Return a whole response. `simulated_quality` is an extension: the score a user would give."""
    body: dict[str, Any] = _head(model, "chat.completion") | {
        "choices": [
            {
                "index": index,
                "message": choice.message(),
                "finish_reason": choice.finish_reason,
                "logprobs": choice.logprobs_of(choice.text),
            }
            for index, choice in enumerate(choices)
        ],
        "simulated_quality": quality,
    }
    return json.dumps(body | ({"usage": usage} if usage else {})).encode()


def chunks(model: SimulatedModel, choices: Sequence[Choice], usage: dict[str, Any] | None) -> Iterator[bytes]:
    """Yield the events of a stream without `[DONE]`; with `usage`, its chunk comes last."""
    head = _head(model, "chat.completion.chunk")
    for index, choice in enumerate(choices):
        for delta in choice.deltas():
            said = choice.logprobs_of(delta.get("content"))
            yield event(head | {"choices": [{"index": index, "delta": delta, "finish_reason": None, "logprobs": said}]})
        yield event(head | {"choices": [{"index": index, "delta": {}, "finish_reason": choice.finish_reason}]})
    if usage is not None:
        yield event(head | {"choices": [], "usage": usage})


def _head(model: SimulatedModel, kind: str) -> dict[str, Any]:
    return {
        "id": f"gen-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model.id,
        "provider": "Simulator",
    }


def event(body: Mapping[str, Any]) -> bytes:
    """Return one SSE event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def usage_of(reply: Reply, choices: int) -> dict[str, Any]:
    """Return OpenRouter's `usage` with the cost; each choice is billed."""
    completion_tokens = reply.completion_tokens * choices
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": reply.prompt_tokens + completion_tokens,
        "cost": reply.cost_usd * choices,
    }


def listed(model: SimulatedModel) -> dict[str, Any]:
    """Return a model's entry in OpenRouter's `GET /models`: prices are strings, USD per token."""
    entry: dict[str, Any] = {
        "id": model.id,
        "canonical_slug": model.id,
        "name": model.id.rpartition("/")[2],
        "created": 1_700_000_000,
        "description": "Simulated.",
        "benchmarks": {"artificial_analysis": {"intelligence_index": model.benchmark}},
        **model.can.listed(),
    }
    if model.price is not None:
        entry["pricing"] = {
            "prompt": f"{model.price.prompt_usd:.12f}".rstrip("0").rstrip("."),
            "completion": f"{model.price.completion_usd:.12f}".rstrip("0").rstrip("."),
            "request": "0",
            "image": "0",
        }
    return entry


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return an error body of OpenRouter, whose `code` is the status."""
    return {"error": {"code": status, "message": message, "metadata": {"provider_name": "Simulator"}}}
