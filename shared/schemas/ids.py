"""Ids of requests: the client's, and our own."""

from __future__ import annotations

import os
import re
import uuid

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\z"
"""What a client may call its request. Safe in a header, a URL, a Redis key and a log line."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_request_id(text: str) -> bool:
    """Whether `text` may be a request's id."""
    return _REQUEST_ID.fullmatch(text) is not None


def uuid7(now: float) -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random, so that ids sort by time."""
    random = int.from_bytes(os.urandom(10))
    value = (int(now * 1000) & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
