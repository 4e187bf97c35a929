"""Ids of requests: the client's, and our own."""

from __future__ import annotations

import os
import re

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\z"
"""What a client may call its request. Safe in a header, a URL, a Redis key and a log line."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_request_id(text: str) -> bool:
    """Whether `text` may be a request's id."""
    return _REQUEST_ID.fullmatch(text) is not None


def uuid7(now: float) -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random, so that ids sort by time."""
    time, random = f"{int(now * 1000) & 0xFFFF_FFFF_FFFF:012x}", os.urandom(10).hex()
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
