"""Where settings come from, and how a bad one is explained: files in, plain text values or sentences out.

Everything is read as text, so that a value means the same in a file, in `.env` and in the environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.dotenv_file import read_dotenv
from shared.errors import SettingsError
from shared.setting_names import near_misses
from shared.setting_text import BadText, clean, stripped

MASK = "********"
_SHOWN_CHARS = 200
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
"""Settings that the environment names in lower case, too."""

_TYPES: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a value must be, in words, where its constraint is not a range."""

    words: str


def gather(
    environment: Mapping[str, str], dotenv: Path | None, known: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return each variable's value by precedence, and the problems that are no single value's.

    Raises SettingsError where a file cannot be read.
    """
    from_dotenv = read_dotenv(dotenv, environment) if dotenv is not None and dotenv.is_file() else {}
    named = environment.get("CONFIG_FILE") or from_dotenv.pop("CONFIG_FILE", "")
    from_dotenv.pop("CONFIG_FILE", None)
    try:
        config_file = clean(named)
    except BadText as error:
        raise SettingsError(f"CONFIG_FILE: this path is not allowed: {error}") from None
    from_file = read_file(Path(config_file)) if config_file else {}
    from_environment = {name: value for name, value in environment.items() if name in known}
    # As in curl and Python, the name in lower case goes first, also where it is empty.
    from_environment |= {name: environment[name.lower()] for name in PROXIES if name.lower() in environment}
    # An empty value means unset: compose passes `${X:-}` for everything that is not given.
    sources = (from_file, from_dotenv, from_environment)
    values = {name: value for source in sources for name, value in source.items() if stripped(value)}
    named_others = [name for name, value in environment.items() if stripped(value)]
    return values, [
        f"{name} in the environment is not a setting; did you mean {meant}?"
        for name, meant in near_misses(named_others, known, given=values).items()
    ]


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


def explain(problem: Mapping[str, Any], fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> str:
    """Turn one of pydantic's findings into a sentence that names key, value and what is allowed."""
    name = str(problem["loc"][0])
    field = fields.get(name)
    if field is None:
        closest = difflib.get_close_matches(name, list(fields), n=1, cutoff=0.6)
        named = name if name.isprintable() else ascii(name)
        return f"{named} is not a setting" + (f"; did you mean {closest[0]}?" if closest else "")
    refused = f"{name}: {shown(name, field, values.get(name))} is not allowed"
    reason = problem.get("ctx", {}).get("error")
    return f"{refused}: {reason}" if isinstance(reason, BadText) else f"{refused}; it must be {allowed(field)}"


def shown(name: str, field: FieldInfo, value: object) -> str:
    """Return a value as it may be shown to a person: secrets and credentials in addresses are masked."""
    if "Secret" in str(field.annotation):
        return MASK
    text = str(value)
    if name.endswith("_URL") or "@" in text or "://" in text:
        text = mask_address(text)
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


def mask_address(text: str) -> str:
    """Cut user, password, query and fragment out of an address, whether or not it is a good one."""
    scheme, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    # Behind the last @: in a password, / ? and # that are not encoded look like the end of it.
    _, at, host = rest.rpartition("@")
    end = min((host.find(sign) for sign in "?#" if sign in host), default=len(host))
    return f"{scheme}{mark}{MASK + '@' if at else ''}{host[:end]}{host[end] + MASK if end < len(host) else ''}"


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
