"""Runs each test on both event loops: each has its own code for a transport that changes its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops of each test here."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
