"""The whole stack, started by the same code as `make run`, on free ports and in a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import load_settings

MODELS = ROOT / ".local" / "models"
"""Shared with `make run`: distilling takes longer than all these tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time to the first start on a machine that has yet to distil the embedding model."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", autouse=True)
def _patient_start() -> Iterator[None]:
    """Parts may start slowly on a loaded machine: how long they take is not what these tests check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.local.stack.START_TIMEOUT_S", 240.0)
        yield


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every part, running, with a quick upstream that never fails by itself."""
    settings = load_settings({"HOST": "127.0.0.1", "EXPLORATION_RATE": "0.3", "MIN_REQUESTS_FOR_GLOBAL": "0"}, None)
    folder = tmp_path_factory.mktemp("stack")
    planner = Planner(settings, folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)
    with Stack(planner) as stack:
        stack.start()
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """Every part, running before and after the test."""
    whole_stack.poll()
    yield whole_stack
    whole_stack.poll()
    assert not any(restarts.count or restarts.due for restarts in whole_stack.restarts.values()), "a part has ended"


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the gateway."""
    async with aiohttp.ClientSession(stack.plan.gateway_url, timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session
