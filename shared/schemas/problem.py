"""The one error body, in OpenAI's shape."""

from __future__ import annotations

import orjson


def problem(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Render `{"error": {"message", "type", "param", "code"}}` as UTF-8 JSON."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
