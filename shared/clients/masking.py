"""Masking of an upstream's words for clients: keys, addresses, bearer tokens, control characters."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

MAX_CHARS = 1000
_MAX_READ_CHARS = 65_536
_CUT_OFF_CHARS = 4096
"""Characters dropped at the end of a cut text: they may be half a secret that no pattern matches."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
_ADDRESSES_AND_KEYS = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://\S+"
    r"|[a-z][a-z0-9+.-]{1,20}%3a(?:%2f|/)\S+"
    r"|\b(?:bearer|basic)(?:\s|%20|\+)+[^\s\"',;]+"
    r"|\bsk[-_][a-z0-9_*.…-]{6,}"
    r"|\b(?:pk|rk|gsk|xai|hf|nvapi|org|user|proj)[-_](?=[a-z_.-]*[0-9*])[a-z0-9_*.…-]{6,}"
    r"|\baiza[a-z0-9_-]{16,}"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|(?<![\w:])(?=[0-9a-f:]*::)[0-9a-f:]{4,39}"
    r"|(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    re.IGNORECASE,
)
_SHORT = 6
"""A shorter secret is masked only as a whole word: otherwise parts of ordinary words would be masked."""


class Mask:
    """Masks secrets in texts: given ones in any common encoding, and whatever looks like one."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(map(_any_form, known)), re.IGNORECASE) if known else None

    def __call__(self, text: str) -> str:
        """Return `text` on one line, masked and bounded."""
        cut = len(text) > _MAX_READ_CHARS
        text = text[:_MAX_READ_CHARS].encode("utf-8", "replace").decode()  # lone surrogates have no place in UTF-8
        if self._known is not None:
            text = self._known.sub("***", text)
        text = _ADDRESSES_AND_KEYS.sub("***", _CONTROL.sub(" ", text))
        if self._known is not None:  # a key that was broken by control characters
            text = self._known.sub("***", text)
        if cut:
            text = text[:-_CUT_OFF_CHARS]
        return text.strip()[:MAX_CHARS]


NO_MASK = Mask()
"""Mask without given secrets."""


def secrets_of(base_url: str, api_key: str | None) -> list[str]:
    """Return the secrets that clients must not see: our key, host and credentials of the upstream's address."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    secrets = [api_key or "", host if "." in host else ""]
    if parts.username is not None:
        name, word = unquote(parts.username), unquote(parts.password or "")
        pair = base64.b64encode(f"{name}:{word}".encode()).decode()
        secrets += [name, word, parts.password or "", pair]
    return [secret for secret in secrets if secret]


def _any_form(secret: str) -> str:
    """Return a pattern for `secret`: plain, percent-encoded (once or more), or escaped as in JSON."""
    pattern = "".join(map(_any_form_of_character, secret))
    return pattern if len(secret) >= _SHORT else rf"(?<!\w){pattern}(?!\w)"


def _any_form_of_character(character: str) -> str:
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
    return rf"(?:\\*{re.escape(character)}|{encoded}|\\+u{ord(character):04x})"
