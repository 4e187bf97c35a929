"""Evaluations of these tests are not left to chance."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def every_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each model that may be the best be asked each time, whatever it costs."""
    monkeypatch.setattr("shared.bandit.racing.ASK_AT", 0.0)
