"""Ids of requests: the client's, and our own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

from shared.errors import Conflict

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\z"
"""Pattern of a client's request id: safe in a header, a URL, a Redis key and a log line."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NAMED = 20
_SESSION_DIGITS = 32
_OWN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_request_id(text: str) -> bool:
    """Whether `text` may be a request's id."""
    return _REQUEST_ID.fullmatch(text) is not None


def may_be_own_id(text: str) -> bool:
    """Return whether `text` has the form of our own ids."""
    return _OWN_ID.fullmatch(text) is not None


def made_at(own_id: str) -> float:
    """Return when one of our own ids was made, Unix seconds."""
    return int(own_id[:8] + own_id[9:13], 16) / 1000


def session_hash(session_id: str) -> str:
    """Return the stored name of a conversation: bounded and opaque."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:_SESSION_DIGITS]


def ambiguous(own_ids: Sequence[str]) -> Conflict:
    """Return the error for a public id that requests of several keys share."""
    named = ", ".join(own_ids[:_NAMED]) + (", …" if len(own_ids) > _NAMED else "")
    said = f"Requests of several keys have this id. Use one of their own ids: {named}"
    return Conflict(said, code="ambiguous_request_id", param="request_id")


def uuid7(now: float) -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random, so that ids sort by time."""
    time, random = f"{int(now * 1000) & 0xFFFF_FFFF_FFFF:012x}", os.urandom(10).hex()
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
