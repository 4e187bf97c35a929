"""OpenAI's Responses request as a chat body.

| Responses | chat |
|---|---|
| `instructions`, `input` | messages; `developer` becomes `system`, which every upstream knows |
| `function_call` and `function_call_output` items | `tool_calls`, and messages of the role `tool` |
| `reasoning` items of earlier answers | dropped: only the model that wrote them can read them |
| `text.format`, `text.verbosity` | `response_format`, `verbosity` |
| `reasoning.effort` | `reasoning_effort` |

The router stores no answers, so whatever refers to a stored one is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.dialects.dialect import OWN_FIELDS, invalid, objects, passed, text, unsupported
from services.gateway.dialects.tool_names import ToolNames
from shared.errors import InvalidRequest
from shared.schemas.chat import Translated
from shared.schemas.chat_fields import MAX_MESSAGES, ModelName, Number

_SAME = (*OWN_FIELDS, "parallel_tool_calls", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
_READ = frozenset(
    {
        *("input", "instructions", "max_output_tokens", "reasoning", "text", "tool_choice", "tools", "top_logprobs"),
        *("store", "include", "metadata", "background", "stream_options"),
    }
)
_SEND_ALL = "The router stores no answers: send the whole conversation in `input`."
_STORED = {
    "previous_response_id": _SEND_ALL,
    "conversation": _SEND_ALL,
    "prompt": "The router stores no prompts: send `instructions` and `input`.",
    "store": "The router stores no answers: send `store: false`, or leave it out.",
}
_NO_BACKGROUND = "The router stores no answers: use `stream`, or wait for the answer."
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_FILES = "Files that are stored at OpenAI cannot be read here: send the content itself."


class ResponsesFields(BaseModel):
    """Fields of a Responses request that are checked before it is translated."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    input: str | Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelName | None = Field(None, description="Absent or `auto`: the router chooses")
    instructions: str | None = None
    max_output_tokens: Number | None = None
    metadata: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    store: bool | None = Field(None, description="`true` is refused: nothing is stored")
    stream: bool | None = None
    temperature: Number | None = None
    text: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: list[Any] | None = None
    top_logprobs: Number | None = None
    top_p: Number | None = None


def chat_body_of(body: dict[str, Any], names: ToolNames) -> Translated:
    """Return a checked request as a chat body; `names` get those of its tools. Raises InvalidRequest."""
    if body.get("background"):
        raise InvalidRequest(_NO_BACKGROUND, code="unsupported_parameter", param="background")
    for name, reason in _STORED.items():
        if body.get(name):
            raise unsupported(name, reason)
    tools = _tools(body, names)
    chat = passed(body, _SAME)
    messages = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    chat["messages"] = messages + _input(body["input"], names)
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("top_logprobs"):
        chat |= {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    chat |= tools | _output(body)
    known = (*_READ, *_SAME, *_STORED)
    return Translated(chat, tuple(name for name in body if name not in known))


def _input(items: str | list[Any], names: ToolNames) -> list[dict[str, Any]]:
    """Return the messages of the input; a call of a tool joins the message of the assistant before it."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(objects(items, "input")):
        place = f"input[{index}]"
        match item.get("type", "message"):
            case "message":
                messages.append(_message(item, place))
            case "function_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": None})
                messages[-1].setdefault("tool_calls", []).append(_call(item, place, names))
            case "function_call_output":
                messages += _result(item, place)
            case "reasoning":
                pass
            case _:
                raise unsupported(
                    f"{place}.type",
                    "These items can be translated: message, function_call, function_call_output, reasoning.",
                )
    return messages


def _message(item: dict[str, Any], param: str) -> dict[str, Any]:
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise invalid(f"{param}.role", "The role must be `user`, `assistant`, `system` or `developer`.")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    parts = _parts(content, f"{param}.content")
    if role != "user" or (len(parts) == 1 and parts[0]["type"] == "text"):
        return {"role": role, "content": "".join([part.get("text", "") for part in parts])}
    return {"role": role, "content": parts}


def _parts(content: Any, param: str) -> list[dict[str, Any]]:
    return [_part(part, f"{param}[{index}]") for index, part in enumerate(objects(content, param))]


def _part(part: dict[str, Any], param: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": text(part.get("text"), f"{param}.text")}
        case "refusal":
            return {"type": "text", "text": text(part.get("refusal"), f"{param}.refusal")}
        case "input_image":
            if part.get("image_url") is None:
                raise unsupported(param, _FILES)
            url = {"url": text(part["image_url"], f"{param}.image_url"), **passed(part, ("detail",))}
            return {"type": "image_url", "image_url": url}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case "input_file":
            content = part.get("file_data") or part.get("file_url")
            if content is None:
                raise unsupported(param, _FILES)
            return {"type": "file", "file": {"file_data": content, **passed(part, ("filename",))}}
    raise unsupported(
        f"{param}.type", "These parts can be translated: input_text, output_text, refusal, input_image, input_file."
    )


def _call(item: dict[str, Any], param: str, names: ToolNames) -> dict[str, Any]:
    name, arguments = (text(item.get(field), f"{param}.{field}") for field in ("name", "arguments"))
    function = {"name": names.flat(item.get("namespace"), name), "arguments": arguments}
    return {"id": text(item.get("call_id"), f"{param}.call_id"), "type": "function", "function": function}


def _result(item: dict[str, Any], param: str) -> list[dict[str, Any]]:
    """Return the message of a tool's result, and one with its images and files, which such a message cannot hold."""
    output = item.get("output")
    if not isinstance(output, str | list):
        raise invalid(f"{param}.output", "Input should be a string, or a list of parts.")
    parts = _parts(output, f"{param}.output") if isinstance(output, list) else []
    said = output if isinstance(output, str) else "\n".join([part["text"] for part in parts if "text" in part])
    call = text(item.get("call_id"), f"{param}.call_id")
    result = {"role": "tool", "tool_call_id": call, "content": said}
    shown = [part for part in parts if "text" not in part]
    return [result, {"role": "user", "content": shown}] if shown else [result]


def _tools(body: dict[str, Any], names: ToolNames) -> dict[str, Any]:
    """Return `tools` and `tool_choice`; the tools of a namespace stand among the others."""
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(objects(body.get("tools"), "tools")):
        place = f"tools[{index}]"
        if tool.get("type") == "namespace":
            space = text(tool.get("name"), f"{place}.name")
            inner = objects(tool.get("tools"), f"{place}.tools")
            tools += [_tool(one, f"{place}.tools[{number}]", names, space) for number, one in enumerate(inner)]
        else:
            tools.append(_tool(tool, place, names, None))
    fields: dict[str, Any] = {"tools": tools} if tools else {}
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise unsupported("tool_choice.type", "Only a function of your own can be chosen.")
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return fields | ({"tool_choice": choice} if choice is not None and tools else {})


def _tool(tool: dict[str, Any], param: str, names: ToolNames, space: str | None) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise unsupported(f"{param}.type", "Only functions of your own (`function`) work here, no hosted tools.")
    name = names.add(space, text(tool.get("name"), f"{param}.name"))
    function = {"name": name, **passed(tool, ("description", "parameters", "strict"))}
    return {"type": "function", "function": function}


def _output(body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer's format and verbosity, and the effort of reasoning."""
    config, reasoning = body.get("text") or {}, body.get("reasoning") or {}
    fields = passed(config, ("verbosity",))
    wanted = config.get("format") or {"type": "text"}
    if not isinstance(wanted, dict):
        raise invalid("text.format", "Input should be an object.")
    match wanted.get("type"):
        case "json_schema":
            schema = passed(wanted, ("name", "description", "schema", "strict"))
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "json_object":
            fields["response_format"] = {"type": "json_object"}
        case "text":
            pass
        case _:
            raise invalid("text.format.type", "The type must be `text`, `json_object` or `json_schema`.")
    if isinstance(reasoning.get("effort"), str):
        fields["reasoning_effort"] = reasoning["effort"]
    return fields
