"""Redaction of secrets: the names of fields that hold one, and the forms of keys and passwords inside texts.

A new kind of secret is added here, and nowhere else: log lines, standard streams and shown settings all use this.
What an upstream writes is masked by `shared.clients.masking`, which knows the values themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "********"
SECRET_NAMES = ("api_key", "apikey", "authorization", "password", "secret")
"""A field whose name contains one of these words is secret."""

SECRET_NAME_ENDS = ("token",)
"""A field whose name ends in one of these words is secret; `prompt_tokens` is not."""

_VALUE_MARKS = ("bearer", "sk-", "://")
"""Every secret inside a text has one of these; searching for them takes a tenth of the pattern's time."""

_LINE_MARKS = tuple(
    mark.encode() for mark in (*_VALUE_MARKS, *SECRET_NAMES, *(f'{name}":' for name in SECRET_NAME_ENDS))
)
_SECRET_VALUE = re.compile(r"(?i)\b(?:bearer\s+[^\s\"',]+|sk-[a-z0-9_-]{6,})|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
_SECRET_NAME = re.compile("|".join((*SECRET_NAMES, *(f"{name}$" for name in SECRET_NAME_ENDS))), re.IGNORECASE)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Return whether a field of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def may_hold_secret(json_line: bytes) -> bool:
    """Return whether a JSON line may hold a secret, in a name or in a value. It may err on the safe side only."""
    lowered = json_line.lower()
    for mark in _LINE_MARKS:  # noqa: SIM110 - every log line: any() takes twice as long
        if mark in lowered:
            return True
    return False


def redact(value: Any) -> Any:
    """Return a value without its secrets; objects other than numbers and collections become text."""
    if isinstance(value, Mapping):
        return {str(name): MASK if is_secret_name(str(name)) else redact(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def redact_text(text: str) -> str:
    """Return a text without what looks like a key or a password."""
    lowered = text.lower()
    return _SECRET_VALUE.sub(MASK, text) if any(mark in lowered for mark in _VALUE_MARKS) else text


def mask_address(text: str) -> str:
    """Return an address without user, password, query and fragment, whether or not it is a valid one."""
    scheme, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    # Behind the last @: in a password, / ? and # that are not encoded look like the end of it.
    _, at, host = rest.rpartition("@")
    end = min((host.find(sign) for sign in "?#" if sign in host), default=len(host))
    return f"{scheme}{mark}{MASK + '@' if at else ''}{host[:end]}{host[end] + MASK if end < len(host) else ''}"
