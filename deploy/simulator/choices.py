"""Choices of an answer: tool calls in several steps, structured output, formats that the prompt describes, or text."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.simulator.prompted_formats import prompted_answer, text_of
from deploy.simulator.recorded_outcomes import CHARS_PER_TOKEN
from deploy.simulator.schemas import example_of, schema_in


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
        return Choice(_json_text(wanted, body["messages"], text), None, "stop")
    text = prompted_answer(body["messages"], text)
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0] if stop else text
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and 0 < limit * CHARS_PER_TOKEN < len(text):
        return Choice(text[: limit * CHARS_PER_TOKEN], None, "length")
    return Choice(text, None, "stop", logprobs=body.get("logprobs") is True)


def _tool_calls(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the next call of this turn; None where no more are expected.

    The tools that the last user message names are called in that order, one after another, else the first tool alone.
    With `tool_choice: required` there is a further call instead of a text: of the last tool, as agents that return
    their result by a tool list it last.
    """
    tools, wanted = body.get("tools"), body.get("tool_choice")
    if not tools or wanted == "none":
        return None
    by_name = {tool["function"]["name"]: tool["function"] for tool in tools}
    if isinstance(wanted, dict):
        name = wanted["function"]["name"]
        if body["messages"][-1].get("role") == "tool":
            return None
    else:
        plan, done = _plan(body["messages"], list(by_name)), _results(body["messages"])
        if done >= len(plan) and wanted != "required":
            return None
        name = plan[done] if done < len(plan) else list(by_name)[-1]
    schema = by_name.get(name, {}).get("parameters") or {}
    function = {"name": name, "arguments": json.dumps(example_of({"type": "object", **schema}))}
    return [{"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}]


def _plan(messages: list[dict[str, Any]], names: list[str]) -> list[str]:
    said = next((text_of(message.get("content")) for message in reversed(messages) if message["role"] == "user"), "")
    places = {name: found.start() for name in names if (found := re.search(rf"\b{re.escape(name)}\b", said))}
    return sorted(places, key=places.__getitem__) or names[:1]


def _results(messages: list[dict[str, Any]]) -> int:
    """Return the number of tool results since the last user message."""
    count = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        count += message["role"] == "tool"
    return count


def _json_text(wanted: Mapping[str, Any], messages: list[dict[str, Any]], text: str) -> str:
    """Return JSON for the schema of the request, or for one in the prompt."""
    schema = wanted.get("json_schema", {}).get("schema") or schema_in(messages)
    return json.dumps(example_of(schema) if schema else {"answer": text})
