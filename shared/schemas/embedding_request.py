"""Embedding request: parsing and validation. All fields but those of the router pass to the upstream unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.errors import InvalidRequest
from shared.schemas.chat import REROUTING, known_wishes, refuse_forbidden
from shared.schemas.chat_fields import ModelName
from shared.schemas.strict_json import load_object, validate
from shared.schemas.terms import is_auto

MAX_INPUTS = 8192
_CHARS_PER_TOKEN = 4
_KEPT = REROUTING | {"model", "models", "router", "session_id"}


def _input(value: object) -> object:
    if not isinstance(value, str | list):
        raise PydanticCustomError("string_type", "Input should be a string or a list")
    if isinstance(value, list) and not 1 <= len(value) <= MAX_INPUTS:
        raise PydanticCustomError("range", "Input should have 1 to 8192 items")
    return value


Input = Annotated[Any, AfterValidator(_input), WithJsonSchema({"type": ["string", "array"]})]


class EmbeddingFields(BaseModel):
    """Fields of an embedding request that are checked; the upstream checks the others."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    input: Input
    model: ModelName = Field(description="A model by name: the router does not choose among embedding models")


class EmbeddingRequest(Struct, frozen=True, eq=False):
    """A validated request.

    Attributes:
        model: the model that it names.
        body: fields for the upstream, without `model`.
        tokens: estimated tokens of its input.
        ignored: names of dropped fields, for a response header.
    """

    model: str
    body: Mapping[str, Any]
    tokens: int
    ignored: tuple[str, ...] = ()


def parse_embedding(raw: bytes) -> EmbeddingRequest:
    """Parse and validate a body. Raises InvalidRequest, with the field named."""
    body = load_object(raw)
    refuse_forbidden(body)
    fields = validate(EmbeddingFields, body)
    if is_auto(fields.model):
        raise InvalidRequest(
            "Name one model: embeddings of different models cannot be compared, so the router does not choose.",
            code="invalid_value",
            param="model",
        )
    passed = {name: value for name, value in body.items() if name not in _KEPT}
    wishes, ignored = known_wishes(passed.pop("provider")) if "provider" in passed else (None, ())
    if wishes is not None:
        passed["provider"] = wishes
    return EmbeddingRequest(fields.model, passed, _tokens(body["input"]), ignored)


def _tokens(given: str | list[Any]) -> int:
    """Return an estimate: a text's length, or the number of tokens that were sent as such."""
    inputs = given if isinstance(given, list) else [given]
    return sum(_tokens_of(one) for one in inputs)


def _tokens_of(one: Any) -> int:
    if isinstance(one, str):
        return len(one) // _CHARS_PER_TOKEN + 1
    return len(one) if isinstance(one, list) else 1
