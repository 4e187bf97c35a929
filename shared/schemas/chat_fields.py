"""Types and ranges of the chat fields that we know. Others go to the upstream, which judges them itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_MESSAGES = 2048
MAX_OUTPUT_TOKENS = 1_000_000
MAX_SESSION_CHARS = 128

# A name of a model is printable ASCII without spaces: it ends up in headers, labels, keys and logs.
ModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+\z")]
Tokens = Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
_Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class _Strict(BaseModel):
    """No coercion: `"0.9"` is not a number and `true` is not 1. The model checks; the body itself is passed on."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _Message(_Strict):
    role: _Role
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=512)] | None = None


class _StreamOptions(_Strict):
    include_usage: bool | None = None


class ChatFields(_Strict):
    """What is checked before a request is routed."""

    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelName | None = None
    models: Annotated[list[ModelName], Field(max_length=64)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=1024)] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    session_id: Annotated[str, Field(min_length=1, max_length=MAX_SESSION_CHARS)] | None = None
