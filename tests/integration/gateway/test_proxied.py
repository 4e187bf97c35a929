"""A gateway behind a proxy: only calls to the upstream use it, and its refusals are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.gateway_process import BODY
from tests.support.raw_proxy import proxying

REFUSAL = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"


async def test_only_the_upstream_is_reached_by_the_proxy(gateways: Any, tmp_path: Path) -> None:
    """Embedder, Qdrant and Redis are not; the start and /health say what happens; nothing is booked as paid."""
    async with proxying(1, REFUSAL) as proxy:
        url = f"http://user:hunter2@127.0.0.1:{proxy.port}"
        gateway = await gateways(
            OPENROUTER_BASE_URL="https://upstream.invalid/api/v1",
            OPENROUTER_API_KEY="sk-test",
            https_proxy=url,
            HTTP_PROXY=url,
            NO_PROXY="localhost",
        )
        async with aiohttp.ClientSession(gateway.url) as client:
            async with client.post("/v1/chat/completions", json=BODY) as answer:
                assert answer.status == 502
                assert float(answer.headers.get("x-router-cost-usd", "0")) == 0
            async with client.get("/health") as answer:
                detail = (await answer.json())["parts"]["upstream"]["detail"]
        assert "the proxy refused it (403)" in detail
        assert proxy.heads
        assert all(head.startswith("CONNECT upstream.invalid:443 ") for head in proxy.heads)
        (line,) = [line for line in gateway.lines() if line["event"] == "the upstream is reached by a proxy"]
        assert (line["setting"], line["proxy"]) == ("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        assert "hunter2" not in json.dumps(gateway.lines())
