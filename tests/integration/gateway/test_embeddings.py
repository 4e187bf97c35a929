"""Embeddings over HTTP: passed to the model that they name, limited and billed, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.http.auth import digest_of
from tests.support import raw_upstream as raw
from tests.support.served_gateway import ask
from tests.support.several_upstreams import Site, three_upstreams

PATH = "/v1/embeddings"
KEY = "user-key-1234"
ANSWER = {
    "object": "list", "model": "gpt-small", "usage": {"prompt_tokens": 2000, "total_tokens": 2000},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
}  # fmt: skip


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with three_upstreams(tmp_path) as site:
        site.scripts["hosted"] = raw.whole(ANSWER)
        yield site


@pytest.mark.parametrize("given", ["a text", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
async def test_they_pass_to_the_named_model(site: Site, given: object) -> None:
    """With the upstream's key and name of it, all fields unchanged; the answer comes back as it is."""
    sent = {"model": "small", "input": given, "dimensions": 2, "router": {"explore": False}, "session_id": "s"}
    status, answer, headers = await ask(site.client, PATH, sent)
    assert (status, answer) == (200, ANSWER)
    assert headers["x-router-model"] == "small"
    assert headers["x-router-cost-usd"] == "0.002000000"
    (seen,) = site.calls("hosted")
    assert seen.line.startswith("POST /api/v1/embeddings?api-version=7 ")
    assert seen.headers["api-key"] == "key-of-hosted"
    assert seen.json == {"model": "gpt-small", "input": given, "dimensions": 2}


async def test_nothing_is_recorded_or_learned(site: Site) -> None:
    """But what they cost is counted."""
    assert (await ask(site.client, PATH, {"model": "small", "input": "a"}, X_Request_ID="r1"))[0] == 200
    assert not site.world.records
    assert not site.world.memory.events
    assert (await ask(site.client, "/v1/feedback", {"request_id": "r1", "score": 1}))[0] == 404
    _, metrics, _ = await ask(site.client, "/metrics")
    assert 'llm_router_cost_usd_total{arm="small"} 0.002' in metrics


BAD: list[tuple[dict[str, Any], tuple[int, str, str | None]]] = [
    ({"model": "gpt-none@hosted"}, (404, "model_not_found", "model")),
    ({"model": "auto:cheap"}, (400, "invalid_value", "model")),
    ({"model": None}, (400, "invalid_type", "model")),
    ({"input": []}, (400, "invalid_value", "input")),
    ({"input": {"text": "a"}}, (400, "invalid_type", "input")),
    ({"api_base": "http://a"}, (400, "unsupported_parameter", "api_base")),
]


@pytest.mark.parametrize(("more", "expected"), BAD)
async def test_bad_input_is_refused(site: Site, more: dict[str, Any], expected: tuple[int, str, str | None]) -> None:
    """In OpenAI's shape, without a call."""
    status, answer, _ = await ask(site.client, PATH, {"model": "small", "input": "a", **more})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == expected
    assert not site.calls("hosted")


async def test_a_failing_upstream_is_asked_again_and_blamed(site: Site) -> None:
    """Circuits and retries are those of chat; another model never answers."""
    site.scripts["hosted"] = raw.whole({"error": {"message": "down"}}, status="503 Down")
    status, answer, _ = await ask(site.client, PATH, {"model": "small", "input": "a"})
    assert (status, answer["error"]["code"]) == (502, "upstream_error")
    assert len(site.calls("hosted")) == 2
    assert not site.calls("router")
    _, metrics, _ = await ask(site.client, "/metrics")
    assert 'llm_router_upstream_errors_total{arm="small",error="status_503",upstream="hosted"} 2.0' in metrics
    site.scripts["hosted"] = raw.whole({"object": "list"})
    assert (await ask(site.client, PATH, {"model": "small", "input": "a"}))[0] == 502, "no answer without `data`"


async def test_the_keys_limits_apply(tmp_path: Path) -> None:
    """To requests and to the budget; what was reserved beyond the cost is given back."""
    limits = f"{digest_of(KEY)[:8]}:rpm=3:usd=0.003"
    async with three_upstreams(tmp_path, API_KEYS=KEY, KEY_LIMITS=limits) as site:
        site.scripts["hosted"] = raw.whole(ANSWER)
        sent = {"model": "small", "input": "x" * 40_000}  # 10,000 tokens: 0.01 USD are reserved, 0.002 are used
        left = []
        for _ in range(3):
            status, answer, headers = await ask(site.client, PATH, sent, authorization=f"Bearer {KEY}")
            left.append((status, headers.get("x-ratelimit-remaining-requests")))
            await asyncio.sleep(0.05)  # it is given back in the background
        assert left == [(200, "2"), (200, "1"), (429, "1")]
        assert answer["error"]["code"] == "insufficient_quota"
