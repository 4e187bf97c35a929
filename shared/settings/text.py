"""Cleaning of setting values: strips invisible characters around a value, refuses those inside it.

A line end behind a key is invisible in an editor, and breaks the header that the key goes into. So all text goes
through `clean` before it is validated, secrets and numbers included. No message repeats a value.
"""

from __future__ import annotations

import re
import unicodedata

LINE_ENDS = re.compile("[\r\n\v\f\x85\u2028\u2029]")
_BLANK = frozenset("\t\n\v\f\r\x85")
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Invisible characters that Unicode classifies as letters, marks or symbols."""

_SPACES = frozenset({"Zs", "Zl", "Zp", "Cf"})
_UNSEEN = _SPACES | {"Cc", "Cs"}


class BadText(ValueError):
    """Error for a refused value; the message does not repeat the value."""


def stripped(text: str) -> str:
    """Return `text` without leading and trailing blanks, line ends, byte order marks and invisible characters."""
    start, end = 0, len(text)
    while start < end and _is_space(text[start]):
        start += 1
    while end > start and _is_space(text[end - 1]):
        end -= 1
    return text[start:end]


def clean(text: str, *, is_list: bool = False) -> str:
    """Return `text` with its ends stripped; a list with commas in place of line ends, and without empty entries.

    Raises BadText if an invisible character is left.
    """
    if is_list:
        entries = (clean(entry) for entry in LINE_ENDS.sub(",", text).split(","))
        return ",".join(entry for entry in entries if entry)
    kept = stripped(text)
    for at, character in enumerate(kept, 1):
        if character != " " and _is_unseen(character):
            raise BadText(f"character {at} is {_named(character)}; remove it")
    return kept


def check_printable(text: str) -> str:
    """Return `text` if it can be sent in a header: printable ASCII. Raises BadText."""
    for at, character in enumerate(text, 1):
        if not " " <= character <= "~":
            raise BadText(f"character {at} is not printable ASCII, and cannot be sent in a header")
    return text


def _is_space(character: str) -> bool:
    return character in _BLANK or character in _FILLERS or unicodedata.category(character) in _SPACES


def _is_unseen(character: str) -> bool:
    if character in _FILLERS or unicodedata.category(character) in _UNSEEN:
        return True
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"  # variation selectors


def _named(character: str) -> str:
    if LINE_ENDS.match(character):
        kind = "a line end"
    elif unicodedata.category(character) == "Cs":
        return "not valid UTF-8"
    elif unicodedata.category(character) == "Cc":
        kind = "a control character"
    else:
        kind = "an invisible character"
    return f"{kind} (U+{ord(character):04X})"
