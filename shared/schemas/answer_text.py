"""Text of an answer, as a judge reads it: what the user saw, tool calls as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


def answer_text(message: Mapping[str, Any]) -> str:
    """Return the text of an assistant message: content, refusal, and tool calls, each on lines of its own."""
    content, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls")
    texts = content if isinstance(content, list) else [content]
    parts = [part.get("text") if isinstance(part, Mapping) else part for part in texts]
    if isinstance(calls, list) and calls:
        functions = [call.get("function") for call in calls if isinstance(call, Mapping)]
        parts.append(orjson.dumps({"tool_calls": functions}).decode())
    text = "\n".join(part for part in (*parts, refusal) if isinstance(part, str) and part)
    return text.encode("utf-8", "replace").decode()  # a model may break a character in two
