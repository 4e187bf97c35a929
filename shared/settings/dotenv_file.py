r"""Parser of `.env` by the rules of docker compose, so that one file means the same to both.

A value in single quotes is literal. In others `$NAME` and `${NAME}` stand for a variable of the environment, else for
one of an earlier line, else for nothing; `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`, `${NAME+other}`,
`${NAME:?message}` and `${NAME?message}` work as in a shell, and `$$` and `\$` are a dollar sign.

Stricter than compose: every line is `NAME=value` (compose takes `NAME: value`, too, older versions do not), and a bare
`$NAME` that is not set is refused, because it is probably part of a password.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from shared.errors import SettingsError

COMPOSE_PREFIX = "COMPOSE_"
"""Variables in `.env` that only docker compose reads."""

_SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")
_DOLLAR = re.compile(
    r"\$\$|\\\$|\$\{(?P<braced>[A-Za-z_]\w*)(?:(?P<how>:?[-+?])(?P<other>[^${}]*))?\}|\$(?P<bare>[A-Za-z_]\w*)|(?P<bad>\$\{)",
    re.ASCII,
)


class UnusableLine(Exception):
    """Error for a refused line; the message does not repeat its value."""


def read_dotenv(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `.env` that have a value, without those that are meant for docker compose alone.

    Raises SettingsError with every line that is refused, by its number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{path} cannot be read: {reason}") from None
    values: dict[str, str] = {}
    problems: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        try:
            if _says_something(binding):
                name, value = _read(binding, values, environment)
                values[name] = value
        except UnusableLine as error:
            problems.append(f"{path}, line {_line_of(binding)}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return {name: value for name, value in values.items() if value and not name.startswith(COMPOSE_PREFIX)}


def _says_something(binding: Binding) -> bool:
    text = binding.original.string.strip()
    return bool(text) and not text.startswith("#")


def _line_of(binding: Binding) -> int:
    """Return the line on which a statement begins: blank lines before it count as its own."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _read(binding: Binding, earlier: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, str]:
    if binding.error or binding.key is None or binding.value is None:
        raise UnusableLine("write NAME=value; a value with quotes, blanks or # stands in single quotes")
    if _SINGLE_QUOTED.match(binding.original.string):
        return binding.key, binding.value
    return binding.key, expanded(binding.value, {**earlier, **environment})


def expanded(value: str, known: Mapping[str, str]) -> str:
    """Return `value` with its variables replaced. Raises UnusableLine."""

    def meant(found: re.Match[str]) -> str:
        if found["bad"]:
            raise UnusableLine("${ without an end that can be read; in single quotes a value is taken as it is")
        name = found["braced"] or found["bare"]
        if name is None:
            return "$"
        if found["bare"] and name not in known:
            raise UnusableLine(f"${name} is not set; a dollar sign is $$, or put the value in single quotes")
        return _chosen(known.get(name), name, found["how"] or "", found["other"] or "")

    return _DOLLAR.sub(meant, value)


def _chosen(value: str | None, name: str, how: str, other: str) -> str:
    """Return what `${name<how><other>}` stands for; with a colon an empty value counts as none."""
    there = bool(value) if how.startswith(":") else value is not None
    if how.endswith("?") and not there:
        raise UnusableLine(f"{name} is not set, and is required here")
    if how.endswith("+"):
        return other if there else ""
    return value if there and value is not None else other
