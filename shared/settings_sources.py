"""Where settings come from, and how a bad one is explained: files in, plain text values or sentences out.

Everything is read as text, so that a value means the same in a file, in `.env` and in the environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.errors import SettingsError

MASK = "********"
COMPOSE_PREFIX = "COMPOSE_"
"""Variables in `.env` that only docker compose reads."""

_TYPES: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a value must be, in words, where its constraint is not a range."""

    words: str


def read_file(path: Path) -> dict[str, str]:
    """Read flat YAML, one `NAME: value` a line. Raises SettingsError without quoting the file: it may hold secrets."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"CONFIG_FILE {path} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"CONFIG_FILE {path}{line} is not YAML, one `NAME: value` a line") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(f"CONFIG_FILE {path} must be flat YAML, one `NAME: value` a line")
    values: dict[str, str] = {}
    for name, value in root.value:
        where = f"CONFIG_FILE {path}, line {name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise SettingsError(f"{where}: write `NAME: value`; a list is one value with commas: `a,b`")
        if name.value in values:
            raise SettingsError(f"{where}: {name.value} is set twice")
        values[name.value] = "" if value.tag.endswith(":null") else value.value
    return values


def read_dotenv(path: Path) -> dict[str, str]:
    """Read `.env`, without what is meant for docker compose alone."""
    found = dotenv_values(path)
    return {name: value for name, value in found.items() if value and not name.startswith(COMPOSE_PREFIX)}


def near_misses(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return, for names that are not settings but look like one mistyped, that setting."""
    known = list(known)
    matches = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.88) for name in names if name not in known}
    return {name: found[0] for name, found in matches.items() if found}


def explain(problem: Mapping[str, Any], fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> str:
    """Turn one of pydantic's findings into a sentence that names key, value and what is allowed."""
    name = str(problem["loc"][0])
    field = fields.get(name)
    if field is None:
        closest = difflib.get_close_matches(name, list(fields), n=1, cutoff=0.6)
        return f"{name} is not a setting" + (f"; did you mean {closest[0]}?" if closest else "")
    return f"{name}: {shown(name, field, values.get(name))} is not allowed; it must be {allowed(field)}"


def shown(name: str, field: FieldInfo, value: object) -> str:
    """Return a value as it may be shown to a person: secrets and credentials in addresses are masked."""
    if "Secret" in str(field.annotation):
        return MASK
    return repr(mask_address(str(value)) if name.endswith("_URL") else value)


def mask_address(text: str) -> str:
    """Cut user, password and query out of an address."""
    scheme, mark, rest = text.rpartition("://")
    rest, query, _ = rest.partition("?")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{MASK + '@' if at else ''}{host}{'?' + MASK if query else ''}"


def allowed(field: FieldInfo) -> str:
    """Return what a field accepts: `a number, 0 to 1`, `one of json, text, auto`."""
    said = [entry.words for entry in field.metadata if isinstance(entry, Said)]
    if said:
        return said[0]
    kind = field.annotation
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    words = [word for word in (_TYPES.get(kind), _range(field)) if word]
    return ", ".join(words) or "some text"


def _range(field: FieldInfo) -> str:
    low = next((entry for entry in field.metadata if isinstance(entry, Ge | Gt)), None)
    high = next((entry for entry in field.metadata if isinstance(entry, Le | Lt)), None)
    above = "" if low is None else f"above {low.gt}" if isinstance(low, Gt) else f"{low.ge}"
    below = "" if high is None else f"below {high.lt}" if isinstance(high, Lt) else f"{high.le}"
    if not above or not below:
        return f"{above} or more" if above and isinstance(low, Ge) else above or below
    return f"{above} to {below}" if isinstance(low, Ge) else f"{above}, at most {below}"


def masked(value: object) -> str:
    """Return any setting's value as text for a log or a table."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(masked(item) for item in value)
    text = "" if value is None else str(value)
    return mask_address(text) if "://" in text else text
