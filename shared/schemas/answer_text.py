"""Text of an answer, as a judge reads it: what the user saw, tool calls as JSON."""

from __future__ import annotations

import json

from shared.schemas.answer_parts import AnswerChoice

REFUSED = "(The model refused to answer.)"


def answer_text(choice: AnswerChoice) -> str:
    """Return the text of a choice: content, refusal, and tool calls, each on lines of its own.

    It is the same for answers that were streamed and others, so that a judge cannot tell them apart.
    """
    parts = [choice.text, REFUSED if choice.refusal else ""]
    if choice.tool_calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in choice.tool_calls]
        parts.append(json.dumps({"tool_calls": calls}, ensure_ascii=False))
    text = "\n".join([part for part in parts if part])
    return text.encode("utf-8", "replace").decode()  # a model may break a character in two
