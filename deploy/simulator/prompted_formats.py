"""Formats that a prompt describes in words, as agent frameworks do where they use neither tools nor response formats.

| in the prompt | the answer |
|---|---|
| `[[ ## answer ## ]]` (DSPy) | each field that the last message asks for, and `[[ ## completed ## ]]` |
| `Thought:` and `Final Answer:` (ReAct, CrewAI) | `Thought: ...`, `Final Answer: ...` |
| `Thought:` and `Answer:` (ReAct, LlamaIndex) | the same with `Answer:` |
| a JSON schema, and the word JSON | an example of it in a fenced block |
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from deploy.simulator.schemas import example_of, schema_in

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")
_REACT = re.compile(r"^\s*Thought:", re.MULTILINE)
_ASKED = "Respond with"


def prompted_answer(messages: Sequence[dict[str, Any]], text: str) -> str:
    """Return an answer in the format that the prompt describes, or `text`."""
    said = [text_of(message.get("content")) for message in messages]
    asked = said[-1].rpartition(_ASKED)[2] if said else ""
    if fields := list(dict.fromkeys(_FIELD.findall(asked))):
        return "\n\n".join([f"[[ ## {name} ## ]]\n{'' if name == 'completed' else text}".strip() for name in fields])
    everything = "\n".join(said)
    if _REACT.search(everything):
        for word in ("Final Answer:", "Answer:"):
            if word in everything:
                return f"Thought: I can answer without using any more tools.\n{word} {text}"
    schema = schema_in(messages) if "json" in everything.lower() else None
    return text if schema is None else f"```json\n{json.dumps(example_of(schema))}\n```"


def text_of(content: Any) -> str:
    """Return the text of a message's content."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if part.get("type") == "text")
    return ""
