"""Reading what an upstream says: trusted for its text, not for its numbers or names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shared.bandit.arms import Arm, Price
from shared.logs import get_logger
from shared.schemas.upstream import Usage

_log = get_logger(__name__)

MAX_TOKENS = 100_000_000
MAX_COST_USD = 10_000.0
"""Figures beyond these are an upstream's mistake or attack; a bill is made from our own count instead."""

_MODEL_NAME = re.compile(r"[!-~]{1,256}")


class BadAnswer(Exception):
    """The body is not an answer."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises BadAnswer for anything else."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("not JSON") from error
    if not isinstance(body, dict):
        raise BadAnswer("not an object")
    return body


def error_of(body: Mapping[str, Any], choices: Iterable[dict[str, Any]]) -> Mapping[str, Any] | None:
    """Return the error that a body of status 200 carries, at the top or in one of its choices; None without one."""
    error = body.get("error")
    if error is None:
        for choice in choices:
            if choice.get("error") or choice.get("finish_reason") == "error":
                error = choice.get("error") or {}
                break
    if error is None:
        return None
    return error if isinstance(error, dict) else {"message": error}


def choices_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the choices that are objects."""
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the message of each choice, of which there is at least one. Raises BadAnswer."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("no choices")
    said = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    messages = [message for message in said if isinstance(message, dict)]
    if len(messages) != len(choices):
        raise BadAnswer("a choice without a message")
    return messages


def text_length_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the characters of all that messages say, tool calls included."""
    length = 0
    for message in messages:
        texts = [message.get("content"), message.get("reasoning"), *_arguments(message.get("tool_calls"))]
        length += sum([len(text) for text in texts if isinstance(text, str)])
    return length


def _arguments(calls: Any) -> list[Any]:
    if not isinstance(calls, list):
        return []
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return [function.get("arguments") for function in functions if isinstance(function, dict)]


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """Return the usage if its figures are possible, else None; an impossible cost alone is dropped alone."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cost = usage.get("cost")
    cost_usd = _amount(cost, MAX_COST_USD)
    if prompt is None or completion is None or (cost is not None and cost_usd is None):
        _log.warning("the upstream's usage is impossible and was ignored", model=model_of(body))
    if prompt is None or completion is None:
        return None
    return Usage(prompt, completion, cost_usd)


def model_of(body: Mapping[str, Any]) -> str | None:
    """Return the model's name if it is safe in a header, else None."""
    return _name(body.get("model"))


def arms_of(body: Mapping[str, Any]) -> tuple[Arm, ...]:
    """Return the models of a `GET /models` answer, in OpenRouter's or OpenAI's shape. Raises BadAnswer."""
    listed = body.get("data")
    if not isinstance(listed, list):
        raise BadAnswer("no list of models")
    arms = {}
    for entry in listed:
        name = _name(entry.get("id")) if isinstance(entry, dict) else None
        if name is not None:
            arms[name] = Arm(name, _price(entry.get("pricing")))
    return tuple(arms.values())


def _price(pricing: Any) -> Price | None:
    if not isinstance(pricing, dict):
        return None
    prompt, completion = (_amount(pricing.get(name), 1.0) for name in ("prompt", "completion"))
    return None if prompt is None or completion is None else Price(prompt, completion)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _amount(value: Any, limit: float) -> float | None:
    """Return USD from a number or, as OpenRouter writes prices, from a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and 0 <= amount <= limit else None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and _MODEL_NAME.fullmatch(value) else None
