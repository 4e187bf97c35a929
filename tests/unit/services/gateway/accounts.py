"""An account that is refused, and worlds of models with and without a price."""

from __future__ import annotations

from pathlib import Path

from shared.bandit.arms import Arm, Price
from shared.errors import Scope, UpstreamError
from tests.support.fakes.gateway import World, settings_for

NO_KEY = UpstreamError("no", status=401, scope=Scope.KEY)
NO_CREDIT = UpstreamError("no", status=402, scope=Scope.CREDIT, relay=b"{}", reason="no credit here")
TOO_DEAR = UpstreamError("no", status=402, scope=Scope.FIT, relay=b'{"error":{"message":"fewer max_tokens"}}')
CAPPED = UpstreamError("no", status=429, cool_s=600.0, free_cap=True)
BUSY = UpstreamError("no", status=429, cool_s=5.0)
FREE = ("x/one:free", "y/two:free")
PRICED = tuple(Arm(name, Price(price, price)) for name, price in (("a/dear", 1e-5), ("b/cheap", 1e-7), ("c/gift", 0.0)))


def world_of(tmp_path: Path, models: str, default: str) -> World:
    world = World(settings_for(tmp_path / "spool", LLM_MODELS=models, DEFAULT_MODEL=default))
    world.upstream.arms = (*PRICED, *(Arm(name, Price(0.0, 0.0)) for name in FREE))
    return world
