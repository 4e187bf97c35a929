"""Gateway processes against a simulated upstream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.servers import Server, free_port, running
from tests.support.gateway_process import Gateway


@pytest.fixture(scope="package")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a simulated upstream that is quick and never fails by itself."""
    port = free_port()
    command = [sys.executable, "-m", "deploy.simulator", "--port", str(port), "--failures", "0", "--speed", "20"]
    with running(Server("simulator", command, tmp_path_factory.mktemp("simulator") / "log"), port):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
async def gateways(tmp_path: Path, upstream: str) -> AsyncIterator[Any]:
    """A factory of started gateways that share a folder; whatever still runs is killed at the end."""
    started: list[Gateway] = []

    async def start(**settings: str) -> Gateway:
        gateway = Gateway(tmp_path, upstream, **settings)
        started.append(gateway)
        await gateway.start()
        return gateway

    yield start
    for gateway in started:
        await asyncio.to_thread(gateway.server.kill)
