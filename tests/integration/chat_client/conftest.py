"""An upstream of raw bytes, and the client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.clients.chat_client import HttpChatModel, connections
from tests.integration.chat_client.calls import KEY
from tests.support import raw_upstream as raw


@pytest.fixture
async def upstream() -> AsyncIterator[raw.RawUpstream]:
    async with raw.raw_upstream() as server:
        yield server


@pytest.fixture
async def model(upstream: raw.RawUpstream) -> AsyncIterator[HttpChatModel]:
    async with connections(upstream.url) as http:
        yield HttpChatModel(http, KEY, first_byte_timeout_s=0.5, gap_timeout_s=0.3)
