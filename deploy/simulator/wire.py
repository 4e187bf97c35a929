"""Wire format: bodies in the form of OpenAI and OpenRouter."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.simulator.choices import Choice
from deploy.simulator.models import Reply, SimulatedModel

DONE = b"data: [DONE]\n\n"


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
