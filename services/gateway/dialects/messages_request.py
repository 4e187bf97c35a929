"""Anthropic's Messages request as a chat body.

| Messages | chat |
|---|---|
| `system` | the first message |
| `tool_use` and `tool_result` blocks | `tool_calls`, and messages of the role `tool` |
| `image` and `document` blocks | `image_url` and `file` parts; those in a tool's result follow it in a user message |
| `thinking` blocks of earlier answers | dropped: only the model that wrote them can read their signatures |
| `thinking`, `output_config.effort` | `reasoning_effort` |
| `output_config.format`, `output_format` | `response_format` |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.dialects.dialect import OWN_FIELDS, invalid, objects, passed, text, unsupported
from shared.clients.upstream_json import dumps
from shared.schemas.chat import Translated
from shared.schemas.chat_fields import MAX_MESSAGES, ModelName, Number

_READ = frozenset(
    {
        *("max_tokens", "messages", "metadata", "output_config", "output_format", "stop_sequences", "system"),
        *("temperature", "thinking", "tool_choice", "tools", "top_k", "top_p", "stream", "model"),
    }
)
_FILES = "Files that are stored at Anthropic cannot be read here: send the content itself (`base64`, `url` or `text`)."
_USER_CHARS = 64
"""Upstreams refuse longer ids of users; Claude Code sends a JSON document there."""
_LOW_BUDGET, _HIGH_BUDGET = 4096, 16384
"""Budgets of thinking, in tokens, up to which the effort is low, and from which it is high."""


class MessagesFields(BaseModel):
    """Fields of a Messages request that are checked before it is translated."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    messages: Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelName | None = Field(None, description="Absent or `auto`: the router chooses")
    max_tokens: Number | None = None
    system: str | list[Any] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Number | None = None
    thinking: dict[str, Any] | None = None
    tool_choice: dict[str, Any] | None = None
    tools: list[Any] | None = None
    metadata: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None


def chat_body_of(body: dict[str, Any]) -> Translated:
    """Return a checked request as a chat body. Raises InvalidRequest."""
    if body.get("mcp_servers"):
        raise unsupported("mcp_servers", "The router runs no MCP servers. Send their tools in `tools`.")
    chat = passed(body, (*OWN_FIELDS, "top_k"))
    messages = [message for role in _system(body.get("system")) for message in role]
    for index, message in enumerate(objects(body["messages"], "messages")):
        messages += _messages(message, f"messages[{index}]")
    chat["messages"] = messages
    if body.get("max_tokens") is not None:
        chat["max_completion_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    user = (body.get("metadata") or {}).get("user_id")
    if isinstance(user, str) and len(user) <= _USER_CHARS:
        chat["user"] = user
    chat |= _tools(body) | _output(body)
    dropped = tuple(name for name in body if name not in _READ and name not in OWN_FIELDS)
    return Translated(chat, dropped, caps_answer=True)  # Anthropic requires `max_tokens`, so clients send a large one


def _system(system: Any) -> Iterator[list[dict[str, Any]]]:
    if isinstance(system, str) and system:
        yield [{"role": "system", "content": system}]
    elif system:
        blocks = objects(system, "system")
        texts = [text(block.get("text"), f"system[{index}].text") for index, block in enumerate(blocks)]
        yield [{"role": "system", "content": "\n\n".join(texts)}]


def _messages(message: dict[str, Any], param: str) -> list[dict[str, Any]]:
    """Return the chat messages of one message: the results of tools come first, then what else it says."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{param}.role", "The role must be `user` or `assistant`.")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(objects(content, f"{param}.content")):
        place = f"{param}.content[{index}]"
        match block.get("type"):
            case "tool_result":
                result, shown = _result(block, place)
                results.append(result)
                parts += shown
            case "tool_use":
                calls.append(_call(block, place))
            case "thinking" | "redacted_thinking":
                pass
            case _:
                parts += _parts(block, place)
    if role == "assistant":
        said: dict[str, Any] = {"role": role, "content": "".join([part.get("text", "") for part in parts]) or None}
        return [said | ({"tool_calls": calls} if calls else {})]
    return [*results, *([{"role": role, "content": _plain(parts)}] if parts or not results else [])]


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a single text as a string, which every upstream takes."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _parts(block: dict[str, Any], param: str) -> list[dict[str, Any]]:
    """Return the parts of a block of text, an image or a document."""
    match block.get("type"):
        case "text":
            return [{"type": "text", "text": text(block.get("text"), f"{param}.text")}]
        case "image":
            return [{"type": "image_url", "image_url": {"url": _url(block.get("source"), f"{param}.source")}}]
        case "document":
            return _document(block, param)
        case "search_result":
            return [part for index, inner in enumerate(objects(block.get("content"), f"{param}.content"))
                    for part in _parts(inner, f"{param}.content[{index}]")]  # fmt: skip
    raise unsupported(
        f"{param}.type",
        "These blocks can be translated: text, image, document, search_result, tool_use, tool_result, thinking.",
    )


def _document(block: dict[str, Any], param: str) -> list[dict[str, Any]]:
    source, place = block.get("source"), f"{param}.source"
    if not isinstance(source, dict):
        raise invalid(place, "Input should be an object.")
    if source.get("type") == "text":
        return [{"type": "text", "text": text(source.get("data"), f"{place}.data")}]
    if source.get("type") == "content":
        content = source.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else objects(content, place)
        return [part for inner in blocks for part in _parts(inner, place)]
    name = block.get("title")
    file = {"filename": name if isinstance(name, str) else "document.pdf", "file_data": _url(source, place)}
    return [{"type": "file", "file": file}]


def _url(source: Any, param: str) -> str:
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return f"data:{media_type};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
        case {"type": "file"}:
            raise unsupported(param, _FILES)
    raise invalid(param, "The source must be `base64` with `media_type` and `data`, or `url` with `url`.")


def _call(block: dict[str, Any], param: str) -> dict[str, Any]:
    function = {"name": text(block.get("name"), f"{param}.name"), "arguments": dumps(block.get("input") or {}).decode()}
    return {"id": text(block.get("id"), f"{param}.id"), "type": "function", "function": function}


def _result(block: dict[str, Any], param: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the message of a tool's result, and its images and documents, which such a message cannot hold."""
    content = block.get("content") or ""
    if isinstance(content, str):
        said, shown = content, list[dict[str, Any]]()
    else:
        inner = [part for index, one in enumerate(objects(content, f"{param}.content"))
                 for part in _parts(one, f"{param}.content[{index}]")]  # fmt: skip
        said = "\n".join([part["text"] for part in inner if part["type"] == "text"])
        shown = [part for part in inner if part["type"] != "text"]
    call = text(block.get("tool_use_id"), f"{param}.tool_use_id")
    return {"role": "tool", "tool_call_id": call, "content": said}, shown


def _tools(body: dict[str, Any]) -> dict[str, Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls`."""
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(objects(body.get("tools"), "tools"))]
    fields: dict[str, Any] = {"tools": tools} if tools else {}
    choice = body.get("tool_choice")
    if not choice:
        return fields
    plain = {"auto": "auto", "any": "required", "none": "none"}.get(str(choice.get("type")))
    if plain is None and choice.get("type") != "tool":
        raise invalid("tool_choice.type", "The type must be `auto`, `any`, `tool` or `none`.")
    named = {"type": "function", "function": {"name": choice.get("name")}}
    fields["tool_choice"] = plain or named
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields


def _tool(tool: dict[str, Any], param: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise unsupported(
            f"{param}.type", "Only tools with a schema of their own (`custom`) work here, none that Anthropic defines."
        )
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise invalid(f"{param}.input_schema", "Input should be an object.")
    function = {"name": text(tool.get("name"), f"{param}.name"), **passed(tool, ("description", "strict"))}
    return {"type": "function", "function": {**function, "parameters": schema}}


def _output(body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer's format and the effort of reasoning."""
    config = body.get("output_config") or {}
    fields: dict[str, Any] = {}
    wanted = config.get("format") or body.get("output_format")
    if wanted:
        if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict):
            raise invalid("output_config.format", "The format must be `json_schema` with a `schema`.")
        fields["response_format"] = {
            "type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": wanted["schema"]},
        }  # fmt: skip
    effort = _effort(body.get("thinking") or {}, config.get("effort"))
    return fields | ({"reasoning_effort": effort} if effort else {})


def _effort(thinking: dict[str, Any], effort: Any) -> str | None:
    if isinstance(effort, str):
        return effort if effort in {"low", "medium", "high"} else "high"
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int | float):
        return None
    return "low" if budget <= _LOW_BUDGET else "high" if budget >= _HIGH_BUDGET else "medium"
