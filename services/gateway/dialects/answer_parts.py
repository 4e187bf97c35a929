"""Parts of a chat answer: reasoning, text, refusal and tool calls, from a whole message or from a stream's deltas.

A whole message is read like one delta, so that both kinds of answer are read by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class PartKind(Enum):
    """Kind of a part."""

    REASONING = "reasoning"
    TEXT = "text"
    REFUSAL = "refusal"
    CALL = "call"


@dataclass(slots=True, eq=False)
class Part:
    """One part of an answer; `call_id` and `name` are those of a tool call, whose text is its arguments."""

    kind: PartKind
    index: int
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of an answer. `cached` is a part of `prompt`, `reasoning` a part of `completion`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


class AnswerParts:
    """Reader of one choice: collects its parts, finish reason, model and usage."""

    def __init__(self, request_id: str) -> None:
        self.parts: list[Part] = []
        self.finish: str | None = None
        self.model: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._request_id = request_id
        self._calls: dict[int, Part] = {}

    def read(self, body: Mapping[str, Any]) -> Iterator[tuple[Part, str]]:
        """Read an answer or a chunk; yield each text with its part. Other choices than the first are ignored."""
        if isinstance(body.get("model"), str):
            self.model = body["model"]
        if isinstance(body.get("usage"), Mapping):
            self._usage = body["usage"]
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping) or choice.get("index", 0) != 0:
            return
        if isinstance(choice.get("finish_reason"), str) and choice["finish_reason"]:
            self.finish = choice["finish_reason"]
        said = choice.get("message") or choice.get("delta")
        if isinstance(said, Mapping):
            yield from self._said(said)

    @property
    def tokens(self) -> Tokens | None:
        """The token counts that the upstream reports, None where it reports none."""
        usage = self._usage
        if usage is None:
            return None
        prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        return Tokens(
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            _count(prompt, "cached_tokens"),
            _count(completion, "reasoning_tokens"),
        )

    def _said(self, said: Mapping[str, Any]) -> Iterator[tuple[Part, str]]:
        contents = {
            PartKind.REASONING: said.get("reasoning") or said.get("reasoning_content"),
            PartKind.TEXT: said.get("content"),
            PartKind.REFUSAL: said.get("refusal"),
        }
        for kind, content in contents.items():
            if text := text_of(content):
                yield self._add(self._current(kind), text)
        calls = said.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                yield self._add(*self._call(call, position))

    def _current(self, kind: PartKind) -> Part:
        """Return the last part if it is of this kind, else a new one."""
        if self.parts and self.parts[-1].kind is kind:
            return self.parts[-1]
        return self._new(kind)

    def _new(self, kind: PartKind) -> Part:
        part = Part(kind, len(self.parts))
        self.parts.append(part)
        return part

    def _call(self, call: Mapping[str, Any], position: int) -> tuple[Part, str]:
        """Return the part of a tool call, and the arguments that it brings.

        Some upstreams send no index, or the same one for every call: another id begins another call.
        """
        index, call_id = call.get("index"), call.get("id")
        key = index if isinstance(index, int) else position
        function = call.get("function")
        known = function if isinstance(function, Mapping) else {}
        part = self._calls.get(key)
        if part is None or (isinstance(call_id, str) and call_id not in {"", part.call_id}):
            part = self._calls[key] = self._new(PartKind.CALL)
            part.call_id = call_id if isinstance(call_id, str) and call_id else f"call_{self._request_id}_{part.index}"
            part.name = str(known.get("name") or "")
        arguments = known.get("arguments")
        return part, arguments if isinstance(arguments, str) else ""

    @staticmethod
    def _add(part: Part, text: str) -> tuple[Part, str]:
        part.pieces.append(text)
        return part, text


def text_of(content: object) -> str:
    """Return the text of a message's content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    return "".join([text for text in texts if isinstance(text, str)])


def _count(source: object, name: str) -> int:
    value = source.get(name) if isinstance(source, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
