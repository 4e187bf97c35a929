"""Dialects of the simulator: the gateway's translation, the other way round.

A request of another API becomes a chat body, and the simulated chat answer an answer of that API.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from services.gateway.dialects.dialect import Dialect, Envelope
from services.gateway.dialects.messages import MESSAGES
from services.gateway.dialects.responses import RESPONSES
from shared.errors import InvalidRequest

DIALECTS = {"/messages": MESSAGES, "/responses": RESPONSES}
"""Dialects by path."""


class Translation:
    """Translation of one request and its answer."""

    def __init__(self, dialect: Dialect, body: dict[str, Any]) -> None:
        """Translate a body. Raises ValueError."""
        self._exchange = dialect.begin()
        try:
            translated = self._exchange.chat_body(body)
        except InvalidRequest as error:
            raise ValueError(f"{error.param}: {error}") from error
        if translated.refusal is not None:
            raise ValueError(f"{translated.refusal.param}: {translated.refusal}")
        self.chat_body = translated.body
        self._envelope = Envelope(uuid.uuid4().hex, int(time.time()), str(body["model"]), 0)

    def whole(self, completion: bytes) -> bytes:
        """Return a whole answer."""
        return self._exchange.answer(json.loads(completion), self._envelope)

    def events(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the events of a stream; one chunk may be several of them."""
        events = self._exchange.events(self._envelope)
        for chunk in chunks:
            yield events.chunk(json.loads(chunk.removeprefix(b"data: ")))
        yield events.end()
