"""Traces: kept, handed on, and never trusted further than they are valid."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared import tracing
from shared.tracing import IdTracer, Parent, headers_of, parse_parent, span

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN_ID = "0190b0c2-1111-7222-8333-444455556666"
VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


@pytest.mark.parametrize(
    "sent",
    [
        [], [SENT, SENT], [""], ["x"], [SENT.upper()], [SENT + "-more"], [SENT.replace("00-4", "ff-4")], [SENT[:-1]],
        ["00-" + "0" * 32 + SENT[35:]], [SENT[:36] + "0" * 16 + "-01"], [SENT + "\n00"],
    ],
)  # fmt: skip
def test_what_is_not_valid_starts_a_new_trace(sent: list[str]) -> None:
    """Absent, doubled or malformed: the trace is our own, named after the request, and nothing sent is echoed."""
    trace = tracing.begin(IdTracer(), sent, ["a=b"], OWN_ID)
    with span("upstream") as headers:
        assert VALID.fullmatch(headers["traceparent"])
        assert "tracestate" not in headers
    tracing.end(trace, {})
    assert trace.trace_id == OWN_ID.replace("-", "")


def test_a_trace_is_kept_with_a_span_of_our_own() -> None:
    """The upstream gets the client's trace id, flags and state, and our span as its parent."""
    for sent in (SENT, "01" + SENT[2:] + "-from-the-future"):
        trace = tracing.begin(IdTracer(), [sent], ["vendor=1", "other=2"], OWN_ID)
        with span("upstream") as headers:
            version, trace_id, span_id, flags = headers["traceparent"].split("-")
            assert (version, trace_id, flags) == ("00", trace.trace_id, "01")
            assert trace_id in sent
            assert span_id not in sent
            assert headers["tracestate"] == "vendor=1,other=2"
        tracing.end(trace, {})
    with span("upstream") as headers:
        assert headers == {}


@pytest.mark.parametrize(("sent", "kept"), [("00", "00"), ("01", "01"), ("02", "00"), ("03", "01")])
def test_only_the_first_bit_of_the_flags_says_that_a_trace_is_sampled(sent: str, kept: str) -> None:
    """Other bits mean something else, now or in a later version."""
    parent = parse_parent([f"00-{'a' * 32}-{'b' * 16}-{sent}"], [])
    assert parent is not None
    assert parent.flags == kept


def test_headers_round_trip() -> None:
    """What is handed on is what is read, and an endless state is dropped."""
    parent = Parent("a" * 32, "b" * 16, "01", "v=1")
    headers = headers_of(parent)
    assert parse_parent([headers["traceparent"]], [headers["tracestate"]]) == parent
    found = parse_parent([headers["traceparent"]], ["v=" + "x" * 600])
    assert found is not None
    assert found.state == ""


def exported() -> tuple[Any, Any]:
    """Return a tracer that keeps its spans, and where they are."""
    pytest.importorskip("opentelemetry.sdk", reason="!!! the extra `otel` is not installed: spans were NOT checked")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from shared.clients.otel import OtelTracer

    memory = InMemorySpanExporter()
    return OtelTracer("gateway", SimpleSpanProcessor(memory)), memory


def test_spans_of_a_request_hang_together() -> None:
    """Steps are children of the request, which is a child of what the client sent; failed steps are marked."""
    tracer, memory = exported()
    trace = tracing.begin(tracer, [SENT], [], OWN_ID)
    with span("embed"):
        pass
    with pytest.raises(TimeoutError), span("upstream") as headers:
        raise TimeoutError
    tracing.end(trace, {"method": "POST", "route": "/chat/completions", "status": 502, "error": "upstream_timeout"})
    tracer.close()
    embed, upstream, request = memory.get_finished_spans()
    assert [one.name for one in (embed, upstream, request)] == ["embed", "upstream", "POST /chat/completions"]
    assert {f"{one.context.trace_id:032x}" for one in (embed, upstream, request)} == {trace.trace_id} == {SENT[3:35]}
    assert embed.parent.span_id == upstream.parent.span_id == request.context.span_id
    assert f"{request.parent.span_id:016x}" in SENT
    assert f"{upstream.context.span_id:016x}" in headers["traceparent"]
    assert [one.status.is_ok for one in (embed, upstream, request)] == [True, False, False]
    assert request.attributes["llm_router.status"] == 502


def test_an_unsampled_trace_is_not_exported() -> None:
    """A caller's decision against sampling is followed, and the ids go on all the same."""
    tracer, memory = exported()
    trace = tracing.begin(tracer, [SENT[:-1] + "0"], [], OWN_ID)
    with span("upstream") as headers:
        assert headers["traceparent"].endswith("-00")
        assert trace.trace_id in headers["traceparent"]
    tracing.end(trace, {"status": 200})
    assert memory.get_finished_spans() == ()
