"""Calls to the upstream, its answers, and the protocols of a streamed answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from shared.bandit.arms import ArmId
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements


class Usage(Struct, frozen=True):
    """Tokens and cost of an answer, as the upstream reports them; None if absent or impossible.

    `cached_tokens` are those of the prompt that the upstream had in its cache.
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    cached_tokens: int | None = None

    def updated(self, later: Usage) -> Usage:
        """Return these figures with those that a later event of the same stream reports in their place."""
        return Usage(
            self.prompt_tokens if later.prompt_tokens is None else later.prompt_tokens,
            self.completion_tokens if later.completion_tokens is None else later.completion_tokens,
            self.cost_usd if later.cost_usd is None else later.cost_usd,
            self.cached_tokens if later.cached_tokens is None else later.cached_tokens,
        )


CHAT = "chat"
EMBEDDINGS = "embeddings"
MESSAGES = "messages"
RESPONSES = "responses"
DONE = b"data: [DONE]\n\n"


class Native(Struct, frozen=True, eq=False):
    """A request in the shape of another API than chat completions, as the client sent it, without routing fields.

    Attributes:
        api: the name of the API, which is its path, too.
        body: the fields for the upstream, without `model`.
        headers: those of the client that belong to the API.
        only: whether the request cannot be translated, so that no other API will do.
    """

    api: str
    body: Mapping[str, object]
    headers: Mapping[str, str] = {}
    only: bool = False

    def limited(self, tokens: int) -> Native:
        """Return the request with the limit of its answer that Messages requires."""
        return replace(self, body={**self.body, "max_tokens": tokens})

    def without(self, field: str) -> Native:
        """Return the request without a field."""
        return replace(self, body={name: value for name, value in self.body.items() if name != field})


class Call(Struct, frozen=True):
    """One chat completion: the client's body without routing fields, and the arm to call.

    `deadline` is a `Clock.monotonic` instant. `native`: the same request in another API, for upstreams that have it.
    """

    arm: ArmId
    body: Mapping[str, object]
    request_id: str
    deadline: float
    headers: Mapping[str, str]
    """Control headers for the simulated upstream; empty in production."""
    requirements: Requirements = NO_REQUIREMENTS
    include_usage: bool = False
    """Whether a stream ends with a usage chunk."""
    native: Native | None = None


class Answer(Struct, frozen=True):
    """A whole answer: the upstream's body, verbatim, and what was read of it.

    Attributes:
        chars: length of its text.
        calls: ids of its tool calls.
        choices: text, tool calls and end of each choice.
        api: the API whose shape the body has.
    """

    body: bytes
    usage: Usage | None
    model: str | None
    chars: int = 0
    calls: tuple[str, ...] = ()
    choices: tuple[AnswerChoice, ...] = ()
    api: str = CHAT


KEEP_ALIVE = b": keep-alive\n\n"
"""The comment that shows a client that its stream lives."""


class Heard(Enum):
    """Result of waiting for a stream."""

    EVENT = "event"
    COMMENT = "comment"
    NOTHING = "nothing"


class Sink(Protocol):
    """Receiver of a streamed answer, with back-pressure."""

    def put(self, piece: bytes, /) -> bool:
        """Take a piece; return whether the next may follow immediately, or must wait for `flush`."""

    async def flush(self) -> None:
        """Wait until there is room for more."""


class AnswerStream(Protocol):
    """A streamed answer that the upstream has accepted.

    Attributes:
        events: number of events put so far.
        comment: the upstream's last comment, as bytes of an SSE stream.
    """

    events: int
    comment: bytes

    @property
    def usage(self) -> Usage | None:
        """Tokens and cost, once they have been seen."""

    @property
    def unread(self) -> Counter[str]:
        """Number of events that could not be read and were dropped, by reason."""

    @property
    def end(self) -> bytes:
        """What ends a whole answer: `[DONE]`, or the last event of another API."""

    @property
    def calls(self) -> tuple[str, ...]:
        """Ids of the tool calls that have come."""

    @property
    def choices(self) -> tuple[AnswerChoice, ...]:
        """Text, tool calls and end of each choice, as far as they have come; of a long text the end."""

    async def wait(self, within_s: float) -> Heard:
        """Wait for the first event or a comment, at most `within_s`; return which has arrived.

        Raises UpstreamError where the upstream is silent for too long, or the stream ends without an event.
        """

    async def pour(self, sink: Sink, keep_alive_s: float = math.inf) -> None:
        """Put whole SSE events up to the end, without `end`, and without usage-only chunks unless requested.

        Comments of the upstream are put, too, a few a second at most, and one of ours after each `keep_alive_s` in
        which nothing was put. Raises UpstreamError when the stream is cut, stalls, carries an error or ends without
        `[DONE]` or a finish_reason; events before that are put. A piece holds one event or more.
        """
