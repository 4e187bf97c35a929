"""Tracing by W3C Trace Context: a request keeps its incoming trace and propagates it to the upstream.

    begin(tracer, sent, own_id)     a request starts; its trace is the current one until `end`
    with span("embed"):             a step of it; does nothing outside a request

Ids always; spans go somewhere only where a tracer that exports them is set (`shared/clients/otel.py`). A step's span
yields the headers that a call made in it should carry.

Reference: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

Headers = Mapping[str, str]

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[ -~\t]{1,512}")
_NO_HEADERS: AbstractContextManager[Headers] = nullcontext({})


class Parent(Struct, frozen=True):
    """Incoming trace context: a valid `traceparent` and its `tracestate`."""

    trace_id: str
    span_id: str
    flags: str
    state: str = ""


class Trace(Protocol):
    """The trace of one request."""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        ...

    def span(self, name: str) -> AbstractContextManager[Headers]:
        """Time a step."""
        ...

    def end(self, facts: Mapping[str, object]) -> None:
        """End the trace; `facts` is the request's log line."""
        ...


class Tracer(Protocol):
    """Starts traces."""

    def begin(self, parent: Parent | None, own_id: str) -> Trace:
        """Start the trace of a request, as part of its parent's; without one it may be named after `own_id`, a UUID."""
        ...

    def close(self) -> None:
        """Export waiting spans, and stop."""
        ...


class IdTracer:
    """Ids without spans."""

    def begin(self, parent: Parent | None, own_id: str) -> Trace:
        """Return the parent's trace, or a new one under the request's own id."""
        if parent is None:
            return _Ids(Parent(own_id.replace("-", ""), "", "00"))
        return _Ids(parent)

    def close(self) -> None:
        """Do nothing: there are no spans."""


class _Ids:
    def __init__(self, parent: Parent) -> None:
        self.trace_id = parent.trace_id
        own_id = f"{random.getrandbits(64):016x}"  # no secret
        self._span = nullcontext(headers_of(Parent(parent.trace_id, own_id, parent.flags, parent.state)))

    def span(self, name: str) -> AbstractContextManager[Headers]:  # noqa: ARG002 - the interface has it
        return self._span

    def end(self, facts: Mapping[str, object]) -> None:
        pass


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(tracer: Tracer, traceparents: Sequence[str], tracestates: Sequence[str], own_id: str) -> Trace:
    """Start the trace of a request from its headers."""
    trace = tracer.begin(parse_parent(traceparents, tracestates), own_id)
    _current.set(trace)
    return trace


def end(trace: Trace, facts: Mapping[str, object]) -> None:
    """End the current trace; the connection's next request starts its own."""
    _current.set(None)
    trace.end(facts)


def span(name: str) -> AbstractContextManager[Headers]:
    """Time a step of the current request; yields the headers for a call within it."""
    trace = _current.get()
    return _NO_HEADERS if trace is None else trace.span(name)


def parse_parent(traceparents: Sequence[str], tracestates: Sequence[str]) -> Parent | None:
    """Return the incoming context, or None if it is absent, repeated or invalid: then a new trace starts."""
    found = _PARENT.fullmatch(traceparents[0].strip()) if len(traceparents) == 1 else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    state = ",".join(tracestates)
    return Parent(trace_id, span_id, "01" if int(flags, 16) & 1 else "00", state if _STATE.fullmatch(state) else "")


def headers_of(parent: Parent) -> dict[str, str]:
    """Return the headers that propagate a trace."""
    headers = {TRACEPARENT: f"00-{parent.trace_id}-{parent.span_id}-{parent.flags}"}
    if parent.state:
        headers[TRACESTATE] = parent.state
    return headers
