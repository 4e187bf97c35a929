"""The chat request as the gateway reads it: routing fields taken out, everything else passed on untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """A validated body.

    Attributes:
        body: what goes to the upstream, without `model`, `models` and our own fields; unknown fields untouched.
        model: the pinned model, or None for `auto` or no model.
        models: arms that the client allows; empty for all.
        routing_text: text of the last user message; "" where it has none (images only).
        stream: whether the answer is streamed.
        include_usage: whether the client asked for a usage chunk.
    """

    body: Mapping[str, object]
    model: str | None
    models: tuple[str, ...]
    routing_text: str
    stream: bool
    include_usage: bool
