"""Ids of a request and of its conversation, read from headers."""

from __future__ import annotations

from unittest.mock import Mock

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from prometheus_client import CollectorRegistry

from services.gateway.http.chat_handler import ChatHandler
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.request_context import RequestContext
from shared.clock import SystemClock
from shared.metrics import GatewayMetrics
from shared.settings import load_settings
from shared.tracing import IdTracer


def lifecycle_with(**settings: str) -> RequestLifecycle:
    metrics = GatewayMetrics(CollectorRegistry())
    return RequestLifecycle(load_settings(settings, None), metrics, IdTracer(), admission=Mock(), body_bytes=Mock())


def entered(*headers: tuple[str, str]) -> RequestContext:
    return lifecycle_with().begin(CIMultiDictProxy(CIMultiDict(headers)))


async def session(*headers: tuple[str, str], **body: object) -> str | None:
    request = entered(*headers)
    handler = ChatHandler(Mock(), Mock(), Mock(), SystemClock(), forward_control=False, forward_session=False)
    await handler.read(request, orjson.dumps({"messages": [{"role": "user", "content": "hi"}], **body}))
    return request.session


def test_an_id_that_is_sent_twice_is_no_id() -> None:
    """It is unknown which of the two is meant; the same one twice is refused, too."""
    assert entered(("X-Request-ID", "one")).public_id == "one"
    for second in ("two", "one"):
        request = entered(("X-Request-ID", "one"), ("x-request-id", second))
        assert request.client_id is None
        assert request.public_id == request.own_id


@pytest.mark.parametrize("header", [(), (("X-Session-ID", "of the header"),)])
async def test_the_session_of_the_body_goes_before_that_of_the_header(header: tuple[tuple[str, str], ...]) -> None:
    """And the header's goes before OpenAI's `prompt_cache_key`."""
    of_body = await session(session_id="of the body")
    assert await session(*header, session_id="of the body", prompt_cache_key="key") == of_body is not None
    of_header = await session(("X-Session-ID", "of the header"))
    assert of_header != of_body
    assert (await session(*header, prompt_cache_key="key") == of_header) is bool(header)
    assert await session() is None


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "varies"),
    [
        ("*", "https://a.example", "*", False),
        ("https://a.example,https://b.example", "https://a.example", "https://a.example", True),
        ("https://a.example", "https://c.example", None, True),
    ],
)
def test_a_response_for_one_origin_is_not_cached_for_another(
    origins: str, origin: str, allowed: str | None, varies: bool
) -> None:
    """`Vary: Origin` wherever the headers depend on who asks."""
    sent = CIMultiDictProxy(CIMultiDict({"Origin": origin}))
    headers = CIMultiDict(lifecycle_with(CORS_ORIGINS=origins).cors(sent, "GET"))
    assert headers.get("Access-Control-Allow-Origin") == allowed
    assert (headers.get("Vary") == "Origin") is varies
