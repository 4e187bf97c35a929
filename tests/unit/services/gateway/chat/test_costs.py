"""Costs of answers: reported, estimated, or unknown, which is never 0."""

from __future__ import annotations

import pytest

from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.chat_handler import answer_headers
from services.gateway.http.fast_chat import PlainHeaders
from services.gateway.request_context import RequestContext
from shared import tracing
from shared.errors import UpstreamError, UpstreamFailed
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.use_cases import complete, route
from tests.support.values import replace

BROKEN = UpstreamError("broke off", spent=True)


def a_visit() -> RequestContext:
    return RequestContext(PlainHeaders({}), 0.0, "own", None, tracing.begin(tracing.IdTracer(), [], [], "own"))


async def test_without_cost_from_the_upstream_tokens_are_priced_and_without_tokens_they_are_counted(
    world: World,
) -> None:
    """The cost is the upstream's own figure, else tokens times list price, else our own count, flagged as such."""
    async with world.gateway() as gateway:
        for usage in (Usage(1000, 500, None), None):
            world.upstream.tell("b/middle", Reply(usage=usage))
            await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
    priced, counted = (record.outcome for record in world.records)
    assert priced.cost_usd == pytest.approx(1000 * 1e-6 + 500 * 2e-6)
    assert priced.cost_source == "price"
    assert counted.cost_usd is not None
    assert counted.cost_usd > 0
    assert counted.cost_source == "estimate"


async def test_a_figure_that_the_upstream_does_not_report_is_estimated_alone(world: World) -> None:
    """A cost counts without token counts, and a count without the other one."""
    async with world.gateway() as gateway:
        for usage in (Usage(None, None, 0.01), Usage(None, 500, None)):
            world.upstream.tell("b/middle", Reply(usage=usage))
            await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
    costed, counted = (record.outcome for record in world.records)
    assert (costed.cost_usd, costed.cost_source) == (0.01, "upstream")
    assert costed.prompt_tokens > 0
    assert counted.completion_tokens == 500
    assert counted.cost_usd == pytest.approx(counted.prompt_tokens * 1e-6 + 500 * 2e-6)
    assert counted.cost_source == "estimate"


async def test_a_reported_cost_of_0_is_0_and_not_unknown(world: World) -> None:
    """An answer from a cache, say: it is not priced by our list."""
    async with world.gateway() as gateway:
        world.upstream.tell("b/middle", Reply(usage=Usage(1000, 500, 0.0)))
        await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
    (outcome,) = (record.outcome for record in world.records)
    assert (outcome.cost_usd, outcome.cost_source) == (0.0, "upstream")


@pytest.mark.parametrize("usage", [Usage(1000, 500, None), None])
async def test_an_unknown_cost_is_not_0(world: World, usage: Usage | None) -> None:
    """Without a price and without a reported cost it is None in record and log line, and counted as unknown."""
    world.upstream.arms = tuple(replace(arm, price=None) for arm in world.upstream.arms)
    async with world.gateway() as gateway:
        world.upstream.tell("b/middle", Reply(usage=usage))
        asking = new_request()
        done = await complete(await route(chat(model="b/middle"), asking, gateway), gateway)
        assert "x-router-cost-usd" not in answer_headers(a_visit(), done, SignedLinks(None))
    (record,) = world.records
    assert (record.outcome.cost_usd, record.outcome.cost_source) == (None, "unknown")
    assert record.outcome.spent_usd == record.explored_usd == 0.0
    assert asking.log_fields["cost_usd"] is None
    assert world.counted("unknown_cost", arm="b/middle") == 1
    assert world.counted("cost", arm="b/middle") == 0
    assert next(iter(world.metrics.answer_cost.collect())).samples[0].value == 0


async def test_a_reported_cost_of_0_is_known(world: World) -> None:
    """Free is not unknown, whatever the list price says."""
    async with world.gateway() as gateway:
        world.upstream.tell("b/middle", Reply(usage=Usage(1000, 500, 0.0)))
        done = await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
        assert answer_headers(a_visit(), done, SignedLinks(None))["x-router-cost-usd"] == "0.000000000"
    (record,) = world.records
    assert (record.outcome.cost_usd, record.outcome.cost_source) == (0.0, "upstream")
    assert world.counted("unknown_cost", arm="b/middle") == 0


async def test_a_failed_call_of_unknown_price_has_an_unknown_cost(world: World) -> None:
    """It may have been billed; the request as a whole has no answer, so the answer's cost is known to be 0."""
    world.upstream.arms = tuple(replace(arm, price=None) for arm in world.upstream.arms)
    async with world.gateway() as gateway:
        world.upstream.default = Reply(error=BROKEN)
        with pytest.raises(UpstreamFailed):
            await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
    (record,) = world.records
    assert (record.outcome.cost_usd, record.outcome.cost_source) == (0.0, "none")
    assert record.outcome.attempts[-1].cost_usd is None
    assert world.counted("unknown_cost", arm="b/middle") >= 1


async def test_an_answer_without_usage_has_a_token_for_four_characters(world: World) -> None:
    """That is what is billed to budgets when the upstream reports nothing."""
    async with world.gateway() as gateway:
        world.upstream.tell("b/middle", Reply(usage=None, text="x" * 400))
        await complete(await route(chat(model="b/middle"), new_request(), gateway), gateway)
    assert world.records[0].outcome.completion_tokens == 100
