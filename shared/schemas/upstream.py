"""What goes to the upstream and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from shared.bandit.arms import ArmId
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements
from shared.values import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and, where the upstream says so, the cost in USD. Out-of-range figures are dropped, not trusted."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """One chat completion: the client's body with routing fields taken out, and the arm to ask.

    `deadline` is a `Clock.monotonic` instant.
    """

    arm: ArmId
    body: Mapping[str, object]
    request_id: str
    deadline: float
    headers: Mapping[str, str]
    """Control headers for the simulated upstream; empty in production."""
    requirements: Requirements = NO_REQUIREMENTS


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the upstream's body, verbatim; `chars` is the length of its text."""

    body: bytes
    usage: Usage | None
    model: str | None
    chars: int = 0


class Sink(Protocol):
    """Takes a streamed answer: bytes, as fast as it can bear."""

    def put(self, piece: bytes, /) -> bool:
        """Take a piece; return whether the next may come at once, else it waits for `flush`."""

    async def flush(self) -> None:
        """Wait until there is room for more."""
