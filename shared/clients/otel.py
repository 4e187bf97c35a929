"""OpenTelemetry tracer: exports spans by OTLP over HTTP. Needs the extra `otel`; imported only if enabled.

A span is named after its step and has the request's span as its parent. Attributes are the facts of the log line: ids,
names and numbers, never a prompt, an answer or a key. Sampling follows the parent, else `OTEL_TRACES_SAMPLER`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.span import format_span_id, format_trace_id

from shared import __version__
from shared.tracing import Headers, Parent, Trace, headers_of

TRACES = "/v1/traces"
TIMEOUT_S = 2.0
"""Time-out of one export with its retries; an unreachable collector must not delay a stop."""


class OtelTracer:
    """`Tracer` that exports. `processor` gets the ended spans."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": f"llm-router-{service}", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("llm-router", __version__)

    @classmethod
    def to_endpoint(cls, service: str, endpoint: str) -> OtelTracer:
        """Return one that sends to a collector, in batches, from a thread of its own."""
        return cls(service, BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + TRACES, timeout=TIMEOUT_S)))

    def begin(self, parent: Parent | None, own_id: str) -> Trace:  # noqa: ARG002 - the SDK makes ids by itself
        """Start a request's span below its parent."""
        context = None
        if parent is not None:
            remote = api.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(int(parent.flags, 16)),
                trace_state=TraceState.from_header([parent.state]) if parent.state else None,
            )
            context = api.set_span_in_context(api.NonRecordingSpan(remote))
        span = self._tracer.start_span("request", context, kind=SpanKind.SERVER)
        return _OtelTrace(self._tracer, span)

    def close(self) -> None:
        """Export waiting spans, and stop the thread."""
        self._provider.shutdown()


class _OtelTrace:
    def __init__(self, tracer: api.Tracer, span: api.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = api.set_span_in_context(span)
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    @contextmanager
    def span(self, name: str) -> Iterator[Headers]:
        kind = SpanKind.CLIENT if name in {"embed", "search", "upstream"} else SpanKind.INTERNAL
        # The parent is named, never attached to the context: a stream may end in another task than it began in.
        step = self._tracer.start_span(name, self._context, kind=kind)
        try:
            yield _headers(step)
        except BaseException as error:
            step.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            step.end()

    def end(self, facts: Mapping[str, object]) -> None:
        for name, value in facts.items():
            if isinstance(value, str | int | float):
                self._span.set_attribute(f"llm_router.{name}", value)
        status = facts.get("status")
        if isinstance(status, int) and status >= 500:
            self._span.set_status(StatusCode.ERROR, str(facts.get("error", "")))
        self._span.update_name(f"{facts.get('method', '')} {facts.get('route', '')}")
        self._span.end()


def _headers(span: api.Span) -> Headers:
    context = span.get_span_context()
    flags = f"{int(context.trace_flags):02x}"
    state = context.trace_state.to_header()
    return headers_of(Parent(format_trace_id(context.trace_id), format_span_id(context.span_id), flags, state))
