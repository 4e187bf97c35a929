"""Traits of a chat request: what is known of it beside the user's text, as a few short strings.

    system:<16 hex>   similarity hash of the system and developer messages
    tools:<8 hex>     hash of the names of the tools, in any order
    image, audio, file, video   parts of the messages
    json              a structured answer is asked for
    shape:<12 hex>    what the characters of the user's text say of its kind (`shared.bandit.shape`)
    script:<name>     writing system of most letters of the user's text, in the names of ISO 15924, if it is not Latin

They tell applications apart whose users ask alike, and are stored with the request. Of the system prompt nothing but
its hash is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from hashlib import blake2b
from typing import Any

from shared.bandit.shape import shape_of
from shared.schemas.similarity_hash import MAX_CHARS, similarity_hash

_SYSTEM_ROLES = ("system", "developer")
_MODALITIES = ("image", "audio", "file", "video")
_STRUCTURED = frozenset({"response_format", "structured_outputs"})
_MAX_TOOLS = 200

_SCRIPT_CHARS = 300
"""Characters of the user's text of which the script is found."""

_SCRIPTS = (
    (0x0000, "Latn"), (0x0370, "Grek"), (0x0400, "Cyrl"), (0x0530, "Armn"), (0x0590, "Hebr"), (0x0600, "Arab"),
    (0x0700, "Zzzz"), (0x0750, "Arab"), (0x0780, "Zzzz"), (0x08A0, "Arab"), (0x0900, "Deva"), (0x0980, "Beng"),
    (0x0A00, "Guru"), (0x0A80, "Gujr"), (0x0B00, "Orya"), (0x0B80, "Taml"), (0x0C00, "Telu"), (0x0C80, "Knda"),
    (0x0D00, "Mlym"), (0x0D80, "Sinh"), (0x0E00, "Thai"), (0x0E80, "Laoo"), (0x0F00, "Tibt"), (0x1000, "Mymr"),
    (0x10A0, "Geor"), (0x1100, "Hang"), (0x1200, "Ethi"), (0x13A0, "Zzzz"), (0x1780, "Khmr"), (0x1800, "Mong"),
    (0x18B0, "Zzzz"), (0x1C80, "Cyrl"), (0x1C90, "Geor"), (0x1CC0, "Zzzz"), (0x1D00, "Latn"), (0x1F00, "Grek"),
    (0x2000, "Latn"), (0x2C00, "Zzzz"), (0x2C60, "Latn"), (0x2C80, "Zzzz"), (0x2DE0, "Cyrl"), (0x2E00, "Zzzz"),
    (0x3040, "Jpan"), (0x3100, "Bopo"), (0x3130, "Hang"), (0x3190, "Hani"), (0x31F0, "Jpan"), (0x3200, "Zzzz"),
    (0x3400, "Hani"), (0xA000, "Zzzz"), (0xA640, "Cyrl"), (0xA6A0, "Zzzz"), (0xA720, "Latn"), (0xA800, "Zzzz"),
    (0xAC00, "Hang"), (0xD800, "Zzzz"), (0xF900, "Hani"), (0xFB00, "Latn"), (0xFB13, "Armn"), (0xFB1D, "Hebr"),
    (0xFB50, "Arab"), (0xFE00, "Zzzz"), (0xFE70, "Arab"), (0xFF00, "Latn"), (0xFF66, "Jpan"), (0xFFA0, "Hang"),
    (0xFFE0, "Zzzz"), (0x1B000, "Jpan"), (0x1B170, "Zzzz"), (0x1D400, "Latn"), (0x1D800, "Zzzz"), (0x20000, "Hani"),
)  # fmt: skip
"""First code point of each range, and its script. `Zzzz` (unknown) stands for all scripts that are not listed."""
_STARTS = tuple(start for start, _ in _SCRIPTS)


def traits_of(body: Mapping[str, Any], text: str, features: Set[str]) -> tuple[str, ...]:
    """Return the traits of a chat body with the user's `text`; `features` are its requirements."""
    traits = []
    if system := _system_text(body.get("messages")):
        traits.append(f"system:{similarity_hash(system)}")
    if names := sorted(_tool_names(body)):
        traits.append("tools:" + blake2b("\n".join(names).encode(errors="replace"), digest_size=4).hexdigest())
    if features:
        traits += [name for name in _MODALITIES if name in features]
        if not _STRUCTURED.isdisjoint(features):
            traits.append("json")
    if text:
        traits.append(f"shape:{shape_of(text)}")
    if not text.isascii() and (script := script_of(text)) != "Latn":
        traits.append(f"script:{script}")
    return tuple(traits)


def script_of(text: str) -> str:
    """Return the script of most letters of the first characters; `Latn` where there are none."""
    letters = Counter[str]()
    for letter, count in Counter(text[:_SCRIPT_CHARS]).items():
        if letter.isalpha():
            letters[_SCRIPTS[bisect_right(_STARTS, ord(letter)) - 1][1]] += count
    if "Jpan" in letters:  # Japanese is written in Han characters, too
        letters["Jpan"] += letters.pop("Hani", 0)
    if letters["Latn"] * 2 >= letters.total():
        return "Latn"
    del letters["Latn"]
    return max(sorted(letters), key=letters.__getitem__)


def _system_text(messages: Any) -> str:
    """Return the first characters of the system and developer messages."""
    found: list[str] = []
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") in _SYSTEM_ROLES:
            found += _texts(message.get("content"))
            if sum(map(len, found)) >= MAX_CHARS:
                break
    return "\n".join(found)


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def _tool_names(body: Mapping[str, Any]) -> Iterator[str]:
    for field in ("tools", "functions"):
        tools = body.get(field)
        for tool in tools[:_MAX_TOOLS] if isinstance(tools, list) else ():
            function = tool.get("function", tool) if isinstance(tool, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            if isinstance(name, str):
                yield name
            elif isinstance(tool, dict) and isinstance(tool.get("type"), str):
                yield tool["type"]  # the upstream's own tools have no names
