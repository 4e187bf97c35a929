"""Streamed answers: no truncated answer looks complete, and what was spent is written down."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from services.gateway.app import Gateway
from services.gateway.chat import streaming
from shared.bandit.decision import DecisionKind
from shared.errors import UpstreamError, UpstreamFailed
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.records import Status
from shared.schemas.upstream import DONE, KEEP_ALIVE, Heard, Usage
from tests.support.fakes.chat_model import Reply, text_of
from tests.support.fakes.gateway import World, chat, known, new_request
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import open_stream, route

REFUSED = UpstreamError("refused", cool_s=1.0)
CUT = UpstreamError("the upstream's stream broke off", spent=True)


async def read(gateway: Gateway, sink: FakeSink | None = None, **fields: Any) -> list[bytes]:
    sink = sink or FakeSink()
    async with open_stream(
        await route(chat(stream=True, **fields), new_request(), gateway), gateway, begins(sink)
    ) as opened:
        sink.put(await opened.pour())
    return sink.frames


async def test_frames_pass_and_the_record_is_stored_before_done_leaves(world: World) -> None:
    """The last thing a client gets is [DONE], and by then the record is safe."""

    def told(frame: bytes) -> None:
        if frame == DONE:
            assert [record.outcome.status for record in world.records] == [Status.ANSWERED]
        else:
            assert not world.records

    async with world.gateway() as gateway:
        frames = await read(gateway, FakeSink(told))
    assert text_of(frames[:-1]) == world.upstream.default.text
    assert frames[-1] == DONE
    assert world.recorded == 1, "a second record would be dropped without a word"
    outcome = world.records[0].outcome
    assert outcome.streamed
    assert outcome.first_token_s is not None
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost_usd) == (12, 7, 0.000_21)


async def test_an_upstream_cut_ends_in_an_error_event_and_no_done(world: World) -> None:
    """The client can tell a broken answer from a whole one, and so can the record."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(error=CUT, break_after=2)
        frames = await read(gateway)
    assert DONE not in frames
    error = orjson.loads(frames[-1].removeprefix(b"data: "))["error"]
    assert error["type"] == "upstream_error"
    assert error["code"] == "upstream_cut"
    assert len(world.upstream.calls) == 1, "after a byte has gone out no other arm is called"
    (record,) = world.records
    assert record.outcome.status is Status.TRUNCATED
    assert not record.rateable
    assert record.outcome.cost_source == "estimate"
    assert known(record.outcome.cost_usd) > 0


async def test_before_the_first_event_the_next_arm_streams(world: World) -> None:
    """A failure to open goes to the next ranked arm, as for whole answers."""
    async with world.gateway() as gateway:
        plan = await route(chat(stream=True), new_request(), gateway)
        world.upstream.tell(plan.order[0], Reply(error=REFUSED))
        async with open_stream(plan, gateway, begins(FakeSink())) as opened:
            assert opened.arm == plan.order[1]
            assert opened.decision.kind is DecisionKind.FALLBACK
            assert await opened.pour() == DONE


async def test_when_no_arm_opens_the_failure_is_recorded_and_raised(world: World) -> None:
    """Without a first byte the client gets a status, not a stream."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(error=REFUSED)
        with pytest.raises(UpstreamFailed):
            await read(gateway)
    assert world.records[0].outcome.status is Status.FAILED


async def test_a_client_that_leaves_stops_the_upstream_and_its_cost_so_far_is_recorded(world: World) -> None:
    """A disconnect between two events closes the upstream call at once and writes CANCELLED."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(gap_s=0.01, text="one two three four five six seven")
        plan = await route(chat(stream=True, model="c/large"), new_request(), gateway)
        seen = asyncio.Event()

        async def client() -> None:
            async with open_stream(plan, gateway, begins(FakeSink(lambda _: seen.set()))) as opened:
                await opened.pour()

        task = asyncio.create_task(client())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.upstream.cancelled == 1
    (record,) = world.records
    assert record.outcome.status is Status.CANCELLED
    assert known(record.outcome.cost_usd) > 0
    assert [attempt.error for attempt in record.outcome.attempts] == ["cancelled"]


async def test_a_reader_that_stops_in_between_is_a_cancelled_request_too(world: World) -> None:
    """Leaving `open_stream` early, by an error or a return, is written down once."""

    def broken(_frame: bytes) -> None:
        raise ConnectionResetError

    async with world.gateway() as gateway:
        plan = await route(chat(stream=True), new_request(), gateway)

        async def broken_pipe() -> None:
            async with open_stream(plan, gateway, begins(FakeSink(broken))) as opened:
                await opened.pour()

        with pytest.raises(ConnectionResetError):
            await broken_pipe()
    assert [record.outcome.status for record in world.records] == [Status.CANCELLED]


class ScriptedWaits:
    """A stream of which only what is heard before the first event matters."""

    comment, events, end = KEEP_ALIVE, 0, DONE

    def __init__(self, *heard: Heard | UpstreamError) -> None:
        self.usage: Usage | None = None
        self.calls: tuple[str, ...] = ()
        self.choices: tuple[AnswerChoice, ...] = ()
        self.unread = Counter[str]()
        self.heard = list(heard)

    async def wait(self, within_s: float) -> Heard:
        heard = self.heard.pop(0)
        if heard is not Heard.COMMENT:
            await asyncio.sleep(max(within_s, 0.0) + 0.001)
        if isinstance(heard, UpstreamError):
            raise heard
        return heard

    async def pour(self, sink: Any, keep_alive_s: float = 0.0) -> None:
        raise NotImplementedError


async def test_no_other_model_is_tried_late_in_an_open_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has been kept waiting by comments gets the failure, not another wait of the same length."""
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    error = UpstreamError("broke off", spent=True)
    async with world.gateway() as gateway:
        plan = await route(chat(stream=True), new_request(), gateway)
        async with open_stream(plan, gateway, begins(FakeSink())) as opened:
            with pytest.raises(UpstreamError):
                await opened.listen(plan.order[0], ScriptedWaits(Heard.NOTHING, Heard.NOTHING, error))
            assert opened.begun
            assert not error.try_next


async def test_a_comment_of_the_upstream_lets_the_stream_begin_early(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers go out about a second after it, not after ten: the client sees that it is being served."""
    monkeypatch.setattr(streaming, "EARLY_S", 0.01)
    async with world.gateway() as gateway:
        plan = await route(chat(stream=True), new_request(), gateway)
        async with open_stream(plan, gateway, begins(FakeSink())) as opened:
            answer = ScriptedWaits(Heard.COMMENT, Heard.NOTHING, UpstreamError("broke off", spent=True))
            listening = asyncio.create_task(opened.listen(plan.order[0], answer))
            async with asyncio.timeout(3):
                while not opened.begun:  # noqa: ASYNC110 - nothing else tells
                    await asyncio.sleep(0.01)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
