"""The retry table: which arm is called after which failure, what may be billed, and what is learned of each arm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.gateway.app import Gateway
from services.gateway.chat.plan import ChatPlan
from services.learner.learning.apply_events import EventLearner
from shared.clients.upstream_errors import garbage, of_error_body, of_exception, of_status, timed_out_error
from shared.errors import ClientError, RouterError, UpstreamError, UpstreamFailed
from shared.metrics import LearnerMetrics
from shared.quick_http import NotConnected
from shared.schemas.records import Outcome, Status
from shared.schemas.upstream import Usage
from tests.support.assigning import a_kind_assigner
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.gateway import World, chat, known, new_request
from tests.support.fakes.kind_store import FakeKindStore
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import complete, open_stream, route
from tests.support.values import replace


def status(code: int, headers: Mapping[str, str] | None = None, **error: object) -> UpstreamError:
    return of_status(code, headers or {}, orjson.dumps({"error": {"message": "no", **error}}))


NO_WAY = of_exception(NotConnected())
CUT = of_exception(ConnectionResetError())
NEXT_UNPAID = {
    "refused": NO_WAY,
    **{f"status_{code}": status(code) for code in (408, 409, 425, 429, 500, 502, 503, 529)},
    "status_404": status(404),
}
NEXT_ONCE_PAID = {
    "timeout": timed_out_error(),
    "broken": CUT,
    "bad_answer": garbage("not JSON"),
    "error_200": of_error_body({"code": 502}),
    "error": of_error_body({"code": "odd"}),
}
NEXT_UNBLAMED = {f"status_{code}": status(code) for code in (401, 402, 403, 413)}
NOBODY = {f"status_{code}": status(code) for code in (400, 422)}
both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


async def serve(plan: ChatPlan, gateway: Gateway) -> Outcome:
    if not plan.chat.stream:
        return (await complete(plan, gateway)).served.outcome
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_stream(plan, gateway, begins(FakeSink())))
        await opened.pour()
        assert opened.served is not None
        return opened.served.outcome


async def learned(world: World) -> dict[str, tuple[float, float]]:
    """Let a learner apply what waits; return answered requests and failures of each arm."""
    learner = EventLearner(
        "me", queue=FakeEventQueue(world.memory), log=world.log, posteriors=world.store, clock=world.clock,
        kinds=a_kind_assigner(FakeKindStore(world.memory), world.log, world.clock),
        metrics=LearnerMetrics(CollectorRegistry()),
    )  # fmt: skip
    await learner.drain()
    state = await world.store.load()
    return {arm: (sums.total.requests, sums.total.failures) for arm, sums in state.arms.items()}


@both
@pytest.mark.parametrize("word", [*NEXT_UNPAID, *NEXT_ONCE_PAID])
async def test_the_next_arm_answers_and_each_is_credited_with_what_it_did(
    world: World, word: str, streamed: bool
) -> None:
    """The answer is the second arm's, the failure the first one's, both learned once; only real asking may cost."""
    error = (NEXT_UNPAID | NEXT_ONCE_PAID)[word]
    async with world.gateway() as gateway:
        plan = await route(chat(stream=streamed), new_request(), gateway)
        first, second = plan.order[:2]
        world.upstream.tell(first, Reply(error=error))
        outcome = await serve(plan, gateway)
        failed = outcome.attempts[0]
        assert (outcome.status, outcome.arm, failed.arm) == (Status.ANSWERED, second, first)
        assert failed.spent is (word in NEXT_ONCE_PAID)
        assert (known(failed.cost_usd) > 0) is failed.spent
        assert outcome.spent_usd == pytest.approx(known(outcome.cost_usd) + known(failed.cost_usd))
        assert outcome.cost_usd == 0.000_21, "the answer costs what it costs"
        assert (gateway.circuit_breakers.cooldown_s(first) > 0) is (error.cool_s > 0)
    assert await learned(world) == {first: (0, 1), second: (1, 0)}
    assert await learned(world) == {first: (0, 1), second: (1, 0)}
    assert world.memory.events == {}


@both
@pytest.mark.parametrize("word", NOBODY)
async def test_no_other_arm_is_called_where_none_would_do_better(world: World, word: str, streamed: bool) -> None:
    """The client's own mistake is returned to it, and is not the arm's failure."""
    async with world.gateway() as gateway:
        plan = await route(chat(stream=streamed), new_request(), gateway)
        world.upstream.tell(plan.order[0], Reply(error=NOBODY[word]))
        with pytest.raises(UpstreamError):
            await serve(plan, gateway)
        assert len(world.upstream.calls) == 1
        assert gateway.circuit_breakers.cooldown_s(plan.order[0]) == 0
    assert await learned(world) == {}


@both
@pytest.mark.parametrize("word", NEXT_UNBLAMED)
async def test_the_next_arm_answers_and_no_arm_is_blamed(world: World, word: str, streamed: bool) -> None:
    """The account, or this request with this arm: no failure is learned, no arm cools down; the scope is recorded."""
    error = NEXT_UNBLAMED[word]
    async with world.gateway() as gateway:
        plan = await route(chat(stream=streamed), new_request(), gateway)
        world.upstream.tell(plan.order[0], Reply(error=error))
        outcome = await serve(plan, gateway)
        assert outcome.status is Status.ANSWERED
        assert world.upstream.calls[0].arm != outcome.arm
        assert (outcome.attempts[0].scope, outcome.attempts[0].spent) == (error.scope, False)
        assert gateway.circuit_breakers.cooldown_s(plan.order[0]) == 0
    assert await learned(world) == {outcome.arm: (1, 0)}


@both
async def test_an_ambiguous_failure_is_not_repeated_where_the_setting_forbids_it(world: World, streamed: bool) -> None:
    """RETRY_AMBIGUOUS=false: what may have been billed is not asked again; what was refused still is."""
    world.settings = world.settings.model_copy(update={"RETRY_AMBIGUOUS": False})
    for error, calls in ((CUT, 1), (timed_out_error(), 1), (status(503), 2), (garbage("x"), 2)):
        async with world.gateway() as gateway:
            world.upstream.calls.clear()
            plan = await route(chat(stream=streamed), new_request(), gateway)
            world.upstream.tell(plan.order[0], Reply(error=error))
            if calls == 1:
                with pytest.raises(ClientError):
                    await serve(plan, gateway)
            else:
                await serve(plan, gateway)
            assert len(world.upstream.calls) == calls


async def test_after_the_first_byte_no_other_arm_is_called(world: World) -> None:
    """A stream that breaks off is one call, one failure of its arm, and counted as paid."""
    async with world.gateway() as gateway:
        plan = await route(chat(stream=True), new_request(), gateway)
        world.upstream.tell(plan.order[0], Reply(error=status(503), break_after=1))
        outcome = await serve(plan, gateway)
        assert len(world.upstream.calls) == 1
        assert (outcome.status, outcome.attempts[0].spent) == (Status.TRUNCATED, True)
        assert known(outcome.cost_usd) > 0
    assert await learned(world) == {plan.order[0]: (0, 1)}


async def test_arms_that_always_break_off_are_found_out(world: World) -> None:
    """A first byte is no success: five broken streams open the circuit."""
    async with world.gateway() as gateway:
        for _ in range(5):
            world.upstream.tell("a/small", Reply(error=CUT, break_after=1))
            await serve(await route(chat(stream=True, model="a/small"), new_request(), gateway), gateway)
        assert gateway.circuit_breakers.circuit("a/small") == "open"
        assert "a/small" not in (await route(chat(), new_request(), gateway)).decision.ranked
        await serve(await route(chat(stream=True, model="a/small"), new_request(), gateway), gateway)
        assert gateway.circuit_breakers.circuit("a/small") == "closed", "who names it, probes it"


async def test_a_named_model_is_called_again_after_a_pause(world: World) -> None:
    """A passing failure of the only model that may answer is retried; a lasting one is returned immediately."""
    async with world.gateway() as gateway:
        for error, calls in ((replace_cool(status(503), 0.05), 2), (CUT, 2), (status(429), 1), (status(404), 1)):
            world.upstream.calls.clear()
            world.upstream.tell("a/small", Reply(error=error))
            plan = await route(chat(model="a/small"), new_request(), gateway)
            began = asyncio.get_running_loop().time()
            if calls == 2:
                assert (await serve(plan, gateway)).arm == "a/small"
                assert asyncio.get_running_loop().time() - began >= error.cool_s
            else:
                with pytest.raises(RouterError):
                    await serve(plan, gateway)
            assert [call.arm for call in world.upstream.calls] == ["a/small"] * calls
            world.upstream.forget()


def replace_cool(error: UpstreamError, seconds: float) -> UpstreamError:
    error.cool_s = seconds
    return error


async def test_resting_arms_are_still_there_when_the_others_fail(world: World) -> None:
    """No client is refused that another arm could have answered, although that arm cools down."""
    async with world.gateway() as gateway:
        for arm in ("a/small", "b/middle"):
            gateway.circuit_breakers.cool_down(arm, 30)
        for arm in ("c/large", "d/spare"):
            world.upstream.tell(arm, Reply(error=status(500)))
        plan = await route(chat(), new_request(), gateway)
        assert plan.decision.ranked == ("c/large",)
        assert (await serve(plan, gateway)).arm in {"a/small", "b/middle"}


async def test_without_room_in_the_retry_budget_the_first_failure_is_returned(world: World) -> None:
    """When everything fails the upstream gets its load once, not four times."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(error=status(500), delay_s=0.05)
        plans = [await route(chat(), new_request(), gateway) for _ in range(40)]
        done = await asyncio.gather(*(serve(plan, gateway) for plan in plans), return_exceptions=True)
        assert all(isinstance(failure, UpstreamFailed) for failure in done)
        assert len(world.upstream.calls) < 40 * 1.7
        assert world.counted("retries_refused") > 0
        assert (gateway.retry_budget.active, gateway.retry_budget.retrying) == (0, 0)


async def test_no_second_try_begins_after_the_deadline(world: World) -> None:
    """The request's deadline holds for all its calls together."""
    async with world.gateway() as gateway:
        plan = await route(chat(), new_request(), gateway)
        plan = replace(plan, deadline=world.clock.monotonic() + 0.01)
        for arm in plan.order:
            world.upstream.tell(arm, Reply(error=status(503), delay_s=0.02))
        with pytest.raises(UpstreamFailed):
            await serve(plan, gateway)
        assert len(world.upstream.calls) == 1


async def test_no_pause_passes_the_deadline(world: World) -> None:
    """Where the model wants a longer pause than there is time, the client gets the error now, not at its deadline."""
    async with world.gateway() as gateway:
        world.upstream.tell("a/small", Reply(error=replace_cool(status(503), 1.5)))
        plan = await route(chat(model="a/small"), new_request(), gateway)
        started = world.clock.monotonic()
        with pytest.raises(UpstreamFailed):
            await serve(replace(plan, deadline=started + 1.0), gateway)
        assert world.clock.monotonic() - started < 0.9
        assert len(world.upstream.calls) == 1


async def test_a_client_that_leaves_in_the_pause_has_no_call_to_pay(world: World) -> None:
    """Cancelled between two calls: recorded as such, with the first call's failure and nothing after it."""
    async with world.gateway() as gateway:
        world.upstream.tell("a/small", Reply(error=replace_cool(status(503), 1.5)))
        plan = await route(chat(model="a/small"), new_request(), gateway)
        task = asyncio.create_task(serve(plan, gateway))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (record,) = world.records
    assert record.outcome.status is Status.CANCELLED
    assert [attempt.error for attempt in record.outcome.attempts] == ["status_503"]
    assert record.outcome.spent_usd == 0


@pytest.mark.parametrize("usage", [None, Usage(0, 0, None)])
@both
async def test_an_answer_that_says_nothing_of_its_usage_is_counted_by_us(
    world: World, streamed: bool, usage: Usage | None
) -> None:
    """No usage is no free lunch: an estimate at list price, flagged; zero tokens that were said are believed."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(usage=usage)
        outcome = await serve(await route(chat(stream=streamed), new_request(), gateway), gateway)
    assert (known(outcome.cost_usd) > 0, outcome.cost_source) == (
        (True, "estimate") if usage is None else (False, "price")
    )


async def test_health_shows_the_circuit_of_each_arm(world: World) -> None:
    """What decisions go by is what people see."""
    from services.gateway.app import build_health
    from services.gateway.process.health import Readiness

    async with world.gateway() as gateway:
        for _ in range(5):
            gateway.circuit_breakers.failed("b/middle", CUT)
        gateway.circuit_breakers.cool_down("a/small", 7.0)
        report = await build_health(gateway, world.adapters, Readiness()).report()
    small, middle, spare = (report["arms"][arm] for arm in ("a/small", "b/middle", "d/spare"))
    assert small == {"circuit": "closed", "rests_s": 7.0, "found_by": [], "refuses": {}}
    assert middle == {"circuit": "open", "rests_s": 5.0, "found_by": list(report["gateways"]), "refuses": {}}
    assert spare == {"circuit": "closed", "rests_s": 0.0, "found_by": [], "refuses": {}}
