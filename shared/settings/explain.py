"""Explanations of settings: the sentence for a value that is refused, and values as they may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.redaction import MASK, mask_address
from shared.settings.text import BadText

_SHOWN_CHARS = 200
_TYPES: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Said:
    """Description of a constraint that is not a range."""

    words: str


def explain(problem: Mapping[str, Any], fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> str:
    """Return a sentence with key, value and allowed values for one of pydantic's errors."""
    name = str(problem["loc"][0])
    field = fields[name]
    refused = f"{name}: {shown(name, field, values.get(name))} is not allowed"
    reason = problem.get("ctx", {}).get("error")
    return f"{refused}: {reason}" if isinstance(reason, BadText) else f"{refused}; it must be {allowed(field)}"


def shown(name: str, field: FieldInfo, value: object) -> str:
    """Return a value for display: secrets and credentials in addresses are masked.

    Settings that name keys by their hash are masked, too: a key may have been put there by mistake.
    """
    if "Secret" in str(field.annotation) or "KEY" in name:
        return MASK
    text = str(value)
    if name.endswith("_URL") or "@" in text or "://" in text:
        text = mask_address(text)
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


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
