"""Chat fields that the router itself reads, with their checks. All other fields are the upstream's to check.

The OpenAPI document is made from these models, so that it cannot differ from what is checked.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.schemas.terms import RouterFields

MAX_MESSAGES = 8192
MAX_ANSWERS = 128
MAX_SESSION_CHARS = 128


def _number(value: object) -> object:
    if isinstance(value, int | float | orjson.Fragment) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("number_type", "Input should be a number")


def _answers(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise PydanticCustomError("int_type", "Input should be a whole number")
    if not 1 <= value <= MAX_ANSWERS:
        raise PydanticCustomError("range", "Input should be 1 to 128")
    return value


# A name of a model is printable ASCII without spaces: it ends up in headers, labels, keys and logs.
ModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+\z")]
Number = Annotated[Any, AfterValidator(_number), WithJsonSchema({"type": "number"})]
Answers = Annotated[
    Any, AfterValidator(_answers), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_ANSWERS})
]
_MESSAGE = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
Message = Annotated[Any, WithJsonSchema(_MESSAGE)]
"""Checked by `shared.schemas.chat`: a model of each message would take longer than all other checks together."""
_LIMIT = "Counts for budgets if it is 1 or more"


class _Strict(BaseModel):
    """No coercion: `"0.9"` is not a number and `true` is not 1. The model checks; the body itself is passed on."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class StreamOptions(_Strict):
    """Options of a streamed answer."""

    include_usage: Annotated[bool | None, Field(description="`true` adds the usage chunk")] = None


class ChatFields(_Strict):
    """Checked before a request is routed."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelName | None = Field(
        None, description="Absent or `auto`: the router chooses; otherwise that model answers"
    )
    models: Annotated[list[ModelName], Field(max_length=64)] | None = Field(
        None, description="Limits what the router chooses from"
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Number | None = Field(None, description=_LIMIT)
    max_completion_tokens: Number | None = Field(None, description=_LIMIT)
    n: Answers | None = None
    temperature: Number | None = None
    router: RouterFields | None = Field(None, description="The caller's terms of the choice; never sent upstream")
    session_id: Annotated[str, Field(min_length=1, max_length=MAX_SESSION_CHARS)] | None = Field(
        None, description="Names the conversation, which keeps its model while that is good enough"
    )
