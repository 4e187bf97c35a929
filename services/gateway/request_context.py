"""Request context: what is known of one request, from its first byte to its log line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The caller of a request. `owner` stands for the key in storage and log.

    `operator`: may see all of `/health`; `any_source`: may send scores of sources other than users.
    """

    owner: str = ANYBODY
    admin: bool = False
    operator: bool = False
    any_source: bool = False

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
        caller: the caller and its role; unknown before it is admitted.
        body_bytes: what its body counts as in `BodyBytes`.
        body_read_at: the `Clock.monotonic` instant at which a chat request's body had been read.
        session: hash of the conversation's id, None without one.
        explore: whether the client allows exploration.
        evaluate: whether the client allows that a judge and other models see the request.
        control: headers for a simulated upstream.
        log_fields: fields of the canonical log line: ids, names and numbers.
        response_headers: headers of the response, whatever its status: what the key has left of its limits.
    """

    headers: Headers
    started: float
    own_id: str
    client_id: str | None
    trace: Trace
    caller: Caller = _UNKNOWN
    body_bytes: int = 0
    body_read_at: float = 0.0
    session: str | None = None
    explore: bool = True
    evaluate: bool = True
    control: Mapping[str, str] = field(default_factory=dict)
    log_fields: dict[str, object] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The owner of the request's record and quota."""
        return self.caller.owner

    @property
    def public_id(self) -> str:
        """What the client knows the request by, and what goes out as `x-request-id`."""
        return self.client_id or self.own_id
