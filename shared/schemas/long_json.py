r"""Parser of large JSON documents in short steps, so that no step holds the GIL for long.

One C call on megabytes of escapes blocks all other threads, the event loop's included: on 8 MB of `\\"` or `\\n` the
standard library holds the GIL for 77 to 110 ms, orjson for 49 to 57 and msgspec for 67 (four million numbers: orjson
240, msgspec 185). A thread does not help, and a process would send megabytes back, which the loop would have to decode.
So a long document is bounded first, then scanned in pieces; a long string with escapes is taken out, decoded in pieces,
and put back into the parsed rest. On an idle machine no step takes more than a few milliseconds.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_DEPTH = 64
MAX_MARKS = 100_000
"""Brackets, commas and colons outside strings, about three for each value: enough for 10,000 chat messages."""

MAX_DIGITS = 4096
"""Most digits of a number in a long document: reading millions of them is one step that cannot be divided."""

LONG_CHARS = 65_536
"""A longer string with escapes is decoded in pieces."""

PIECE_CHARS = 65_536
_HALVES = frozenset({"d8", "d9", "da", "db"})
"""First two hex digits of a high surrogate."""

_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_BLANKS = re.compile(r"[ \t\r\n]{2,}")
_DIGITS_ALONE = bytes(byte if byte in b"0123456789" else 32 for byte in range(256))
_NOT_MARKS = bytes(sorted(set(range(256)) - set(b"[]{},:")))


class Refused(ValueError):
    """The document is refused: it exceeds a bound, or is not JSON."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def lightened(text: str, decode: Callable[[str], Any]) -> tuple[str, dict[str, str]]:
    """Bound depth and number of values, and take long strings with escapes out.

    Returns the document with a name in place of each such string, and the strings by these names; `decode` reads a
    short string. Raises Refused, and what `decode` raises. The count of values is exact for valid JSON. In anything
    else it is exact up to the first error, where the parser stops.
    """
    parts = _plain(text).split('"', 2 * MAX_MARKS + 1)
    between = [_without_blanks(part) if len(part) > LONG_CHARS else part for part in parts[::2]]
    _check_size("".join(between).encode("ascii", "replace"), len(parts))
    if len(parts) % 2 == 0:
        raise Refused("invalid_json", "The body is not valid JSON: a string does not end.")
    kept, taken = list[str](), dict[str, str]()
    start = done = 0
    for number, part in enumerate(parts):
        end = start + len(part)
        if len(part) > LONG_CHARS and (number % 2 == 0 or "\\" in text[start:end]):
            instead = between[number // 2]
            if number % 2:
                if between[number // 2 + 1].lstrip(" \t\r\n").startswith(":"):
                    raise Refused("too_complex", "A name in the body is too long.")
                instead = secrets.token_hex(16)
                taken[instead] = "".join([_read(piece, decode) for piece in _pieces(text[start:end])])
            kept += text[done:start], instead
            done = end
        start = end + 1  # behind the quote
    kept.append(text[done:])
    return "".join(kept), taken


def holds(text: str, sought: str) -> bool:
    """Return whether `sought` is in `text`, in steps: one search through megabytes may take long."""
    more = len(sought) - 1
    return any(sought in text[at : at + PIECE_CHARS + more] for at in range(0, len(text), PIECE_CHARS))


def put_back(value: Any, taken: Mapping[str, str]) -> Any:
    """Return a value with the strings in place of their names."""
    if isinstance(value, dict):
        return {name: put_back(item, taken) for name, item in value.items()}
    if isinstance(value, list):
        return [put_back(item, taken) for item in value]
    return taken.get(value, value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Return a text of the same length, whose only quotes are those at the ends of strings."""
    if "\\" not in text:
        return text
    return "".join([piece.replace("\\\\", "__").replace('\\"', "__") for piece in _pieces(text)])


def _pieces(text: str) -> Iterator[str]:
    """Yield pieces of a text without splitting an escape or a surrogate pair."""
    start = 0
    while start < len(text):
        end = start + PIECE_CHARS
        if end < len(text):
            end += _backslashes(text, start, end) % 2  # and what the last one escapes
            last = text.rfind("\\u", max(start, end - 6), end)
            if last >= 0 and _backslashes(text, start, last + 1) % 2:
                end = last + 6
                if text[last + 2 : last + 4].lower() in _HALVES and text.startswith("\\u", end):
                    end += 6
        yield text[start:end]
        start = end


def _backslashes(text: str, start: int, end: int) -> int:
    """Return the number of backslashes directly before `end`."""
    piece = text[start:end]
    return len(piece) - len(piece.rstrip("\\"))


def _read(piece: str, decode: Callable[[str], Any]) -> str:
    read: str = decode(f'"{piece}"')
    try:
        read.encode()
    except UnicodeEncodeError:
        raise Refused("invalid_json", "A string holds half of a surrogate pair.") from None
    return read


def _without_blanks(part: str) -> str:
    """Return the text between two strings with runs of blanks shortened."""
    starts = range(0, len(part), PIECE_CHARS)
    return "".join([_BLANKS.sub(" ", part[start : start + PIECE_CHARS]) for start in starts])


def _check_size(between: bytes, parts: int) -> None:
    marks = between.translate(None, _NOT_MARKS)
    depth = 0
    for bracket in marks[:MAX_MARKS].translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Refused("too_deep", f"The body is nested deeper than {MAX_DEPTH} levels.")
    if parts > 2 * MAX_MARKS + 1 or len(marks) > MAX_MARKS:
        raise Refused("too_complex", "The body holds too many values.")
    if max(map(len, between.translate(_DIGITS_ALONE).split()), default=0) > MAX_DIGITS:
        raise Refused("invalid_json", f"A number has more than {MAX_DIGITS} digits.")
