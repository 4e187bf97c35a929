"""Validation errors for callers, made from pydantic's: OpenAI's codes, the field's name, no input echoed."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], fields: dict[str, Any]) -> M:
    """Check a JSON object against `model`. Raises InvalidRequest for the first field that does not fit."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    raise InvalidRequest(
        _sentence(problem["type"], problem["msg"]), code=_code(problem["type"]), param=_path(problem["loc"])
    )


def _path(location: tuple[int | str, ...]) -> str:
    """Return `messages[0].role` for ("messages", 0, "role")."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _code(kind: str) -> str:
    if kind == "missing":
        return "missing_required_parameter"
    return "invalid_type" if kind.endswith(("_type", "int_from_float")) else "invalid_value"


def _sentence(kind: str, message: str) -> str:
    if kind == "model_type":
        return "Input should be an object."
    return message.removeprefix("Value error, ").rstrip(".") + "."
