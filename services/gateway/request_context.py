"""Request context: what is known of one request, from its first byte to its log line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.tracing import Trace

ANYBODY = "public"
"""Owner of every request while API_KEYS is empty."""


class Headers(Protocol):
    """Headers of a request, found by name in any case. `getall`: one may have been sent more than once."""

    def get(self, name: str, default: str, /) -> str:
        """Return one, or the default."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all of a name, or the default."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `owner` stands for the key in storage and log; `operator`: may see all of `/health`."""

    owner: str = ANYBODY
    admin: bool = False
    operator: bool = False

    @property
    def scope(self) -> str | None:
        """The owner whose records the caller may see and rate; None for all."""
        return None if self.admin else self.owner


_UNKNOWN = Caller()


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request.

    Attributes:
        own_id: our own id, a UUIDv7: storage key and Qdrant point.
        client_id: the client's X-Request-ID where it sent a valid one.
        caller: the caller and its role; unknown before `RequestLifecycle.admit`.
        line: fields of the canonical log line. Handlers add ids, names and numbers.
        told: headers of the answer, whatever it is: what the key has left of its limits.
        body_bytes: what its body counts as in `BodyBytes`.
    """

    headers: Headers
    started: float
    own_id: str
    client_id: str | None
    trace: Trace
    caller: Caller = _UNKNOWN
    line: dict[str, object] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    body_bytes: int = 0

    @property
    def public_id(self) -> str:
        """What the client knows the request by, and what goes out as `x-request-id`."""
        return self.client_id or self.own_id
