"""Requirements of a chat request: features of the model, and room for its tokens.

A feature is a word: an input modality (`image`, `audio`, `file`, `video`), an output modality (`output:image`,
`output:audio`), or a request parameter in OpenRouter's names (`tools`, `tool_choice`, `response_format`,
`structured_outputs`, `logprobs`, `reasoning`). Two more are only learned from refusals: `context`, the prompt is too
long for the model, and `tool_history`, tool calls of another model (their ids, or reasoning signatures) are in it.

Tokens are estimated, because each model counts in its own way. The cautious estimate takes 3 bytes of UTF-8 for a
token, which is 3 characters of Latin text and 1 of Chinese, Japanese or Korean; the least estimate takes 8 bytes. Most
prompts lie well between the two. Audio, files and video are not counted: their size says little about their tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec import Struct

INPUTS = ("image", "audio", "file", "video")
OUTPUTS = ("output:image", "output:audio")
PARAMETERS = ("tools", "tool_choice", "response_format", "structured_outputs", "logprobs", "reasoning")
CAPABILITIES = (*INPUTS, *OUTPUTS, *PARAMETERS)
"""Features that a model is known to have or to lack."""
CONTEXT, TOOL_HISTORY, MAX_TOKENS = "context", "tool_history", "max_tokens"

_CAUTIOUS_BYTES, _LEAST_BYTES = 3, 8
_MESSAGE_TOKENS = 4
"""Tokens that a model's template adds to each message."""
_IMAGE_TOKENS, _LEAST_IMAGE_TOKENS = 1500, 85
"""A large picture in tiles, and one at low detail."""
_MOST_TOKENS = 100_000_000

_PART_FEATURES = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
    "document": "file",
    "video_url": "video",
    "input_video": "video",
    "video": "video",
}
_FOREIGN = frozenset({"tool_calls", "function_call", "tool_call_id", "reasoning_details"})
"""Fields of a message that hold ids or signatures of the model that made it."""
_PARAMETERS = frozenset(
    {
        *("tools", "functions", "tool_choice", "function_call", "response_format", "logprobs", "top_logprobs"),
        *("reasoning", "reasoning_effort", "modalities", "audio"),
    }
)
_UNFORCED = (None, "auto", "none")


class Requirements(Struct, frozen=True):
    """Features that a request uses, and estimates of its tokens.

    Attributes:
        prompt_tokens: a cautious estimate; most models count fewer.
        output_tokens: the largest answer that the client allows, 0 without a limit.
        least_prompt_tokens: a lower bound for nearly all models.
    """

    features: frozenset[str] = frozenset()
    prompt_tokens: int = 0
    output_tokens: int = 0
    least_prompt_tokens: int = 0


NO_REQUIREMENTS = Requirements()


def requirements_of(body: Mapping[str, Any]) -> Requirements:
    """Return the requirements of a chat body. Reads each message and part once; unknown shapes add nothing."""
    features: set[str] = set()
    messages = body.get("messages")
    size, images, count = _read_messages(messages, features) if isinstance(messages, list) else (0, 0, 0)
    size += _read_parameters(body, features)
    return Requirements(
        frozenset(features),
        prompt_tokens=size // _CAUTIOUS_BYTES + count * _MESSAGE_TOKENS + images * _IMAGE_TOKENS,
        output_tokens=_output_tokens(body),
        least_prompt_tokens=0 if _shortened(body) else size // _LEAST_BYTES + images * _LEAST_IMAGE_TOKENS,
    )


def _shortened(body: Mapping[str, Any]) -> bool:
    """Return whether the client lets OpenRouter cut its prompt to a model's context."""
    transforms, plugins = body.get("transforms"), body.get("plugins")
    if isinstance(transforms, list) and "middle-out" in transforms:
        return True
    named = [plugin.get("id") for plugin in plugins if isinstance(plugin, dict)] if isinstance(plugins, list) else []
    return "context-compression" in named


def field_of(feature: str, body: Mapping[str, Any]) -> str:
    """Return the field of `body` that asks for a feature, for an error's `param`."""
    if feature.startswith("output:"):
        return "modalities" if body.get("modalities") else "audio"
    names = _FIELDS.get(feature, ("messages",))
    return next((name for name in names if body.get(name) is not None), names[0])


_FIELDS = {
    "tools": ("tools", "functions"),
    "tool_choice": ("tool_choice", "function_call"),
    "response_format": ("response_format",),
    "structured_outputs": ("response_format",),
    "logprobs": ("logprobs", "top_logprobs"),
    "reasoning": ("reasoning", "reasoning_effort"),
    MAX_TOKENS: ("max_completion_tokens", "max_tokens"),
}


def _read_messages(messages: list[Any], features: set[str]) -> tuple[int, int, int]:
    """Add the features of messages; return bytes of their text, the number of images, and that of messages."""
    size = images = count = 0
    for message in messages:
        if not isinstance(message, dict):
            continue
        count += 1
        content = message.get("content")
        if isinstance(content, str):
            size += _bytes_of(content)
        elif isinstance(content, list):
            for part in content:
                feature = _PART_FEATURES.get(str(part.get("type"))) if isinstance(part, dict) else None
                if feature is not None:
                    features.add(feature)
                    images += feature == "image"
                else:
                    size += _text_bytes(part)
        if not _FOREIGN.isdisjoint(message):
            size += _read_calls(message, features)
    return size, images, count


def _text_bytes(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else part
    return _bytes_of(text) if isinstance(text, str) else 0


def _read_calls(message: Mapping[str, Any], features: set[str]) -> int:
    if any(message.get(name) for name in _FOREIGN):
        features.add(TOOL_HISTORY)
    calls = message.get("tool_calls")
    functions: list[Any] = [message.get("function_call")]
    if isinstance(calls, list):
        functions += [call.get("function") for call in calls if isinstance(call, dict)]
    arguments = [function.get("arguments") for function in functions if isinstance(function, dict)]
    return sum(_bytes_of(each) for each in arguments if isinstance(each, str))


def _read_parameters(body: Mapping[str, Any], features: set[str]) -> int:
    """Add the features of the other fields; return the bytes that they add to the prompt."""
    if _PARAMETERS.isdisjoint(body):
        return 0
    if any(_forced(body.get(name)) for name in ("tool_choice", "function_call")):
        features.add("tool_choice")
    if body.get("logprobs") or body.get("top_logprobs"):
        features.add("logprobs")
    if _reasons(body):
        features.add("reasoning")
    modalities = body.get("modalities")
    for name in ("image", "audio"):
        if isinstance(modalities, list) and name in modalities:
            features.add(f"output:{name}")
    if body.get("audio"):
        features.add("output:audio")
    return _read_schemas(body, features)


def _read_schemas(body: Mapping[str, Any], features: set[str]) -> int:
    """The same for tools and the answer's format, which go into the prompt."""
    size = 0
    for name in ("tools", "functions"):
        if body.get(name):
            features.add("tools")
            size += _json_bytes(body[name])
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        features.add("structured_outputs")
        size += _json_bytes(wanted)
    elif kind == "json_object":
        features.add("response_format")
    return size


def _forced(choice: Any) -> bool:
    return (choice.get("type") if isinstance(choice, dict) else choice) not in _UNFORCED


def _reasons(body: Mapping[str, Any]) -> bool:
    if body.get("reasoning_effort") not in (None, "none"):
        return True
    wanted = body.get("reasoning")
    if not isinstance(wanted, dict) or wanted.get("enabled") is False or wanted.get("effort") == "none":
        return False
    return any(wanted.get(name) for name in ("enabled", "effort", "max_tokens"))


def _output_tokens(body: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS:
            return int(value)
    return 0


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json_bytes(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # half a surrogate pair
        return len(json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str))


def words_of(features: Iterable[str]) -> str:
    """Return features as a phrase for people."""
    return ", ".join(_WORDS.get(feature, feature) for feature in features)


_WORDS = {
    **{name: f"{name} input" for name in ("image", "audio", "file", "video")},
    **{f"output:{name}": f"{name} output" for name in ("image", "audio")},
    CONTEXT: "a prompt of this length",
    MAX_TOKENS: "answers of this length",
}
