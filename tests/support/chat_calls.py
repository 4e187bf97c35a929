"""Calls of the upstream, made from a body as the gateway makes them."""

from __future__ import annotations

from collections.abc import Mapping

from shared.schemas.upstream import Call


def call_of(arm: str, body: Mapping[str, object], own_id: str, deadline: float, headers: Mapping[str, str]) -> Call:
    """Return the call of a body; a stream has a usage chunk if the body asks for one."""
    options = body.get("stream_options")
    include_usage = isinstance(options, Mapping) and options.get("include_usage") is True
    return Call(arm, body, own_id, deadline, headers, include_usage=include_usage)
