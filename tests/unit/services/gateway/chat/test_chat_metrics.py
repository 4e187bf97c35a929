"""Metrics of chat requests: bounded in number, present from the start, and right."""

from __future__ import annotations

from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.app import Gateway
from services.gateway.chat import chat_metrics
from services.gateway.chat.answer_checks import Check
from services.gateway.chat.chat_metrics import ChatMetrics, error_label
from services.gateway.process.metrics_view import WATCHED, MetricsView, seed
from shared.bandit.evaluation import Worth
from shared.metrics import GatewayMetrics, new_registry
from shared.schemas.upstream import DONE
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import complete, open_stream, route


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"llm_router_{name}", labels)


def test_what_may_happen_exists_at_zero() -> None:
    """Endings, verdicts, limits and missed dependencies are there before the first of them."""
    registry = CollectorRegistry()
    seed(GatewayMetrics(registry))
    assert sample(registry, "outcomes_total", status="failed") == 0
    assert sample(registry, "feedback_total", verdict="accepted") == 0
    assert sample(registry, "degraded_decisions_total", dependency="qdrant") == 0
    assert sample(registry, "refused_requests_total", limit="overloaded") == 0


@pytest.mark.parametrize("service", ["gateway", "embedder", "learner"])
def test_every_process_says_what_it_is(service: str) -> None:
    """Service and version of each target, and what Python says of its process."""
    names = {metric.name for metric in new_registry(service).collect()}
    assert {"llm_router_build_info", "process_resident_memory_bytes", "python_gc_collections"} <= names


def test_no_upstream_can_grow_the_labels() -> None:
    """Whatever statuses an upstream makes up, the words of failures stay few."""
    words = {error_label(f"status_{status}") for status in range(400, 600)} | {error_label("timeout")}
    assert len(words) < 20
    assert {"status_429", "status_4xx", "status_5xx", "timeout"} <= words


async def test_the_sums_of_what_routing_is_worth_add_up(world: World) -> None:
    """Every weighed decision is counted once, and what it gives away is never negative; a pinned one is not weighed."""
    async with world.gateway() as gateway:
        for number in range(20):
            await complete(await route(chat(f"question {number}"), new_request(), gateway), gateway)
        await complete(await route(chat(model="a/small"), new_request(), gateway), gateway)
    assert world.counted("weighed") == 20
    assert world.counted("explored_decisions") <= 20
    gain, loss, regret = (world.counted(name) for name in ("gain", "loss", "regret"))
    assert min(gain, loss, regret) >= 0
    assert regret >= loss - gain - 1e-9
    explored = [record.decision.explored for record in world.records]
    assert world.counted("explored_decisions") == sum(explored)


def view(world: World, gateway: Gateway) -> MetricsView:
    weights = world.settings.bandit().weights
    return MetricsView(world.metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, weights)


async def test_a_scrape_shows_the_present_state(world: World) -> None:
    """Arms and their evidence as of now: an arm that left the list leaves the metrics; an arm without answers is 0."""
    parts = {name: {"status": "ok"} for name in WATCHED} | {"qdrant": {"status": "down"}, "learner": {}}
    async with world.gateway() as gateway:
        view(world, gateway).show(parts, {})
        assert set(world.metrics.arm_utility._metrics) == {(arm,) for arm in gateway.catalogue.arm_ids}
        assert world.counted("dependency", dependency="redis") == 1
        assert (
            world.counted("dependency", dependency="qdrant") == world.counted("dependency", dependency="learner") == 0
        )
        assert 0 <= world.counted("snapshot_age") < 5
        gateway.circuit_breakers.cool_down("a/small", 60)
        gateway.catalogue.arm_ids = gateway.catalogue.arm_ids[:1]
        await gateway.posteriors.refresh()
        view(world, gateway).show(parts, {})
        assert set(world.metrics.arm_utility._metrics) == {("a/small",)}
        assert world.counted("arm_cooling", arm="a/small") == 1


async def test_before_the_first_snapshot_its_age_is_endless(world: World) -> None:
    """An alarm on the age fires where nothing was ever read, too."""
    async with world.gateway(refreshed=False) as gateway:
        view(world, gateway).show({}, {})
        assert world.counted("snapshot_age") == float("inf")


async def test_gain_and_loss_are_the_two_sides_of_one_figure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a choice is expected to earn above the best fixed model is gain, what it earns below is loss."""
    async with world.gateway() as gateway:
        for lift in (0.5, -0.25):
            monkeypatch.setattr(chat_metrics, "worth_of", lambda *_, lift=lift: Worth(lift, 0.0))
            await complete(await route(chat("a question"), new_request(), gateway), gateway)
    assert (world.counted("gain"), world.counted("loss")) == (0.5, 0.25)


async def test_a_named_model_needs_no_search(world: World) -> None:
    """Its prompt is embedded for the record; neighbours could not change the choice."""
    world.learn_a_rating()
    async with world.gateway() as gateway:
        searches = world.metrics.search._sum._value
        await complete(await route(chat("a question", model="a/small"), new_request(), gateway), gateway)
        assert world.metrics.search._sum._value == searches
        await complete(await route(chat("a question"), new_request(), gateway), gateway)
        assert world.metrics.search._sum._value > searches


async def test_each_unreadable_event_of_a_stream_is_counted(world: World) -> None:
    """Not each stream that had some."""
    async with world.gateway() as gateway:
        plan = await route(chat("a question"), new_request(), gateway)
        await complete(plan, gateway)
        counting = ChatMetrics(world.metrics, gateway.catalogue, gateway.posteriors)
        counting.count_request(plan, plan.decision, world.records[0].outcome, Counter(not_json=3, not_object=1))
    assert world.counted("unread_events", reason="not_json") == 3
    assert world.counted("unread_events", reason="not_object") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_fails_a_check_is_counted_and_recorded(world: World, stream: bool) -> None:
    """Once, for its model; the series of the other checks are there at 0, and the client's answer is as it came."""
    world.upstream.tell("a/small", Reply(text=""))
    async with world.gateway() as gateway:
        plan = await route(chat(model="a/small", stream=stream), new_request(), gateway)
        if stream:
            async with open_stream(plan, gateway, begins(FakeSink())) as opened:
                assert await opened.pour() == DONE
        else:
            await complete(plan, gateway)
        view(world, gateway).show({}, {})
        assert world.counted("failed_checks", arm="a/small", check="empty") == 1
        assert world.counted("outcomes", status="answered") == 1
        (metric,) = world.metrics.failed_checks.collect()
        shown = {tuple(sample.labels.values()) for sample in metric.samples}
        assert {("a/small", check.value) for check in Check} <= shown
    (record,) = world.records
    assert record.outcome.failed_checks == ("empty",)


async def test_what_a_user_was_not_satisfied_with_is_counted(world: World) -> None:
    """A prompt that comes again in its conversation, for the model that answered it before; a stream that was left."""
    question = "What is the capital of Peru?"
    async with world.gateway() as gateway:
        for _ in range(2):
            await complete(await route(chat(question), new_request(session="0a1b"), gateway), gateway)
        first, again = world.records
        assert (first.repeats, again.repeats) == (None, first.outcome.arm)
        assert world.counted("implicit_signals", arm=first.outcome.arm, signal="repeated") == 1
        plan = await route(chat(model="a/small", stream=True), new_request(), gateway)
        async with open_stream(plan, gateway, begins(FakeSink())):
            pass
        assert world.counted("implicit_signals", arm="a/small", signal="abandoned") == 1
