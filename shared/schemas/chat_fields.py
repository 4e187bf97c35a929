"""The chat fields that the router itself uses, and what it needs of them. The upstream judges all others."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

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
Number = Annotated[Any, AfterValidator(_number)]


class _Strict(BaseModel):
    """No coercion: `"0.9"` is not a number and `true` is not 1. The model checks; the body itself is passed on."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _StreamOptions(_Strict):
    include_usage: bool | None = None


class ChatFields(_Strict):
    """What is checked before a request is routed. Limits of tokens and answers count for budgets."""

    messages: Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelName | None = None
    models: Annotated[list[ModelName], Field(max_length=64)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Number | None = None
    max_completion_tokens: Number | None = None
    n: Annotated[Any, AfterValidator(_answers)] | None = None
    temperature: Number | None = None
    session_id: Annotated[str, Field(min_length=1, max_length=MAX_SESSION_CHARS)] | None = None
