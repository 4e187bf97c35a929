"""Query parameters of the JSON API: each at most once, by known names and in range."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from multidict import MultiMapping

from shared.errors import InvalidRequest


def parameters(query: MultiMapping[str], known: Collection[str]) -> dict[str, str]:
    """Return the parameters that were given. Raises InvalidRequest for unknown and repeated ones."""
    for name in query:
        if name not in known:
            raise InvalidRequest(
                f"There is no such query parameter here; known are {', '.join(sorted(known))}.",
                code="unsupported_parameter",
                param=name[:64],
            )
        if len(query.getall(name)) > 1:
            raise bad_value(name, "given once")
    return dict(query)


def whole_number(given: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """Return a whole number within its range. Raises InvalidRequest."""
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise bad_value(name, f"a whole number from {low} to {high}")
    return int(text)


def one_of(given: Mapping[str, str], name: str, values: Collection[str]) -> str | None:
    """Return one of some words; None if it is not given. Raises InvalidRequest."""
    text = given.get(name)
    if text is not None and text not in values:
        raise bad_value(name, f"one of {', '.join(values)}")
    return text


def bad_value(name: str, expected: str) -> InvalidRequest:
    """Return the error for a value that is not allowed."""
    return InvalidRequest(f"`{name}` must be {expected}.", code="invalid_value", param=name)
