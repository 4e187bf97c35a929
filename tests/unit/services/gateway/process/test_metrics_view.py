"""Gauges that are set when the metrics are read: dependencies, arms, and the age of what was learned."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.gateway.process.metrics_view import MetricsView
from shared.bandit.policy import DEFAULT_WEIGHTS
from shared.metrics import GatewayMetrics
from tests.support.fakes.gateway import World


async def test_the_gauges_show_the_present_state(world: World) -> None:
    """A dependency that is down is 0, an arm that was dropped has no series, and a state never read is very old."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"llm_router_{name}", labels)

    async with world.gateway(refreshed=False) as gateway:
        view = MetricsView(metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, DEFAULT_WEIGHTS)
        view.show({"redis": {"status": "down"}, "qdrant": {"status": "ok"}, "upstream": {"status": "degraded"}}, {})
        assert shown("snapshot_age_seconds") == float("inf")
        up = [shown("dependency_up", dependency=name) for name in ("redis", "qdrant", "upstream", "embedder")]
        assert up == [0, 1, 1, 0]
        await gateway.catalogue.refresh()
        for dropped in (False, True):
            gateway.catalogue.change({"a/small": not dropped})
            await gateway.posteriors.refresh()
            view.show({}, {})
            assert (shown("arm_ratings", arm="a/small") is None) is dropped
            assert shown("arm_ratings", arm="b/middle") == 0
