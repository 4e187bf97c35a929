"""Traces of a gateway process, as a collector receives them."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy.local.servers import free_port
from tests.support.gateway_process import BODY

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_collector_gets_the_spans_of_a_request(gateways: Any) -> None:
    """One request: its span and its steps arrive before the process ends, in the client's trace, without its text."""
    pytest.importorskip("opentelemetry.sdk", reason="!!! the extra `otel` is not installed: spans were NOT checked")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: list[bytes] = []

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        received.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.Response(content_type="application/x-protobuf")

    app, port = web.Application(), free_port()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        gateway = await gateways(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        async with (
            aiohttp.ClientSession(gateway.url) as client,
            client.post("/v1/chat/completions", json=BODY, headers={"traceparent": SENT}) as answer,
        ):
            assert answer.status == 200
        assert await asyncio.to_thread(gateway.server.stop) == 0
    finally:
        await runner.cleanup()
    spans = [
        span
        for body in received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == SENT[3:35]
    ]
    assert {"POST /v1/chat/completions", "upstream"} <= {span.name for span in spans}
    assert not any(b"capital of Peru" in body for body in received)
    line = next(line for line in gateway.lines() if line.get("route") == "/v1/chat/completions")
    assert line["trace_id"] == SENT[3:35]


async def test_a_collector_that_is_away_costs_nothing(gateways: Any) -> None:
    """Requests are answered and the process ends in time, although the collector takes no spans."""
    pytest.importorskip("opentelemetry.sdk", reason="!!! the extra `otel` is not installed: spans were NOT checked")
    gateway = await gateways(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    async with aiohttp.ClientSession(gateway.url) as client, client.post("/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 200
    assert await asyncio.to_thread(gateway.server.stop, 20) == 0
