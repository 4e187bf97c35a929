"""Which requests leave a line in the log."""

from __future__ import annotations

from pathlib import Path

import structlog.testing

from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import ask, serving


async def test_polled_routes_leave_no_line(tmp_path: Path) -> None:
    """Who asks /ready or /health every second would fill the log; other requests have their line."""
    async with serving(World(settings_for(tmp_path))) as client:
        with structlog.testing.capture_logs() as lines:
            for path in ("/ready", "/health", "/v1/models"):
                await ask(client, path)
    said = [(line["route"], line["log_level"]) for line in lines if line["event"] == "request"]
    assert said == [("/ready", "debug"), ("/health", "debug"), ("/v1/models", "info")]
