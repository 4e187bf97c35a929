"""Promises of the `ChatModel` port, kept by the fake and by the real client in front of a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from shared.bandit.arms import Arm, Price
from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import UpstreamError
from shared.ports import ChatModel
from shared.schemas.upstream import Call, Usage
from tests.support import raw_upstream as raw
from tests.support.chat_calls import call_of
from tests.support.fakes.chat_model import FakeChatModel, Reply, text_of
from tests.support.fakes.sink import FakeSink

ARM = "vendor/model-a"
TEXT = "".join(raw.WORDS)
LISTED = (Arm(ARM, Price(1e-6, 2e-6)), Arm("vendor/free", Price(0.0, 0.0)), Arm("plain"))
MESSAGES = [{"role": "user", "content": "Say hello"}]


class World(Protocol):
    """An upstream whose next behaviour a test chooses."""

    @property
    def model(self) -> ChatModel: ...
    def answers(self) -> None: ...
    def refuses(self, status: int) -> None: ...
    def breaks_off_after_one_event(self) -> None: ...
    def lists(self) -> None: ...


@dataclass
class FakeWorld:
    model: FakeChatModel

    def answers(self) -> None:
        self.model.tell(ARM, Reply(TEXT, Usage(12, 7, 0.00021)))

    def refuses(self, status: int) -> None:
        relay = b'{"error":{"message":"no"}}' if status == 400 else None
        self.model.tell(ARM, Reply(error=UpstreamError("no", status=status, try_next=status != 400, relay=relay)))

    def breaks_off_after_one_event(self) -> None:
        self.model.tell(ARM, Reply(TEXT, error=UpstreamError("cut", spent=True), break_after=1))

    def lists(self) -> None:
        self.model.arms = LISTED


@dataclass
class RealWorld:
    model: HttpChatModel
    upstream: raw.RawUpstream

    def answers(self) -> None:
        async def either(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wants_stream = self.upstream.seen[-1].json.get("stream")
            await (raw.streamed(raw.good_events()) if wants_stream else raw.whole())(reader, writer)

        self.upstream.script = either

    def refuses(self, status: int) -> None:
        self.upstream.script = raw.whole({"error": {"message": "no", "code": status}}, f"{status} No")

    def breaks_off_after_one_event(self) -> None:
        self.upstream.script = raw.streamed([raw.event(raw.chunk(raw.WORDS[0]))], end="cut")

    def lists(self) -> None:
        priced = {"id": ARM, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
        free = {"id": "vendor/free", "pricing": {"prompt": "0", "completion": "0"}}
        self.upstream.script = raw.whole({"data": [priced, free, {"id": "plain", "object": "model"}]})


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld(FakeChatModel())
        return
    async with raw.raw_upstream() as upstream, connections(upstream.url) as http:
        model = HttpChatModel(http, "sk-test", first_byte_timeout_s=2, gap_timeout_s=2)
        yield RealWorld(model, upstream)


def call(**body: object) -> Call:
    return call_of(ARM, {"messages": MESSAGES, **body}, "0190-id", time.monotonic() + 5, {})


async def collect(model: ChatModel, **body: object) -> tuple[list[bytes], Usage | None]:
    sink = FakeSink()
    async with model.stream(call(stream=True, **body)) as answer:
        await answer.pour(sink)
        assert answer.events == len(sink.frames)
        return sink.frames, answer.usage


async def test_an_answer_comes_whole_with_usage_and_model(world: World) -> None:
    """`complete` returns the body as it came, and what it cost."""
    world.answers()
    answer = await world.model.complete(call())
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == TEXT
    assert answer.usage == Usage(12, 7, 0.00021)
    assert answer.model == ARM


async def test_a_stream_tells_the_same_as_a_whole_answer(world: World) -> None:
    """Frames are whole events without `[DONE]`; text and usage are those of the whole answer."""
    world.answers()
    frames, usage = await collect(world.model)
    assert all(frame.startswith(b"data: {") and frame.endswith(b"}\n\n") for frame in frames)
    assert text_of(frames) == TEXT
    assert usage == Usage(12, 7, 0.00021)


@pytest.mark.parametrize("asked", [True, False])
async def test_usage_reaches_the_client_only_if_it_asked(world: World, asked: bool) -> None:
    """The usage chunk is ours unless the client wants it, and then it comes once, at the end."""
    world.answers()
    frames, usage = await collect(world.model, **({"stream_options": {"include_usage": True}} if asked else {}))
    with_usage = [index for index, frame in enumerate(frames) if json.loads(frame[6:]).get("usage")]
    assert with_usage == ([len(frames) - 1] if asked else [])
    assert usage is not None


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("status", [400, 429, 503])
async def test_a_refusal_says_whether_to_ask_another_arm(world: World, status: int, streaming: bool) -> None:
    """The caller's mistake is not tried elsewhere and is relayed; a busy arm is left for another one, unpaid."""
    world.refuses(status)
    with pytest.raises(UpstreamError) as failure:
        await (collect(world.model) if streaming else world.model.complete(call()))
    assert failure.value.status == status
    assert failure.value.try_next is (status != 400)
    assert (failure.value.relay is not None) is (status == 400)
    assert not failure.value.spent


async def test_a_cut_stream_is_a_failure_that_may_have_been_paid(world: World) -> None:
    """What came before the cut stays; the end is an error, never a normal end."""
    world.breaks_off_after_one_event()
    sink = FakeSink()
    async with world.model.stream(call(stream=True)) as answer:
        with pytest.raises(UpstreamError) as failure:
            await answer.pour(sink)
    assert len(sink.frames) == 1
    assert failure.value.spent


async def test_a_stream_may_be_left_early(world: World) -> None:
    """Leaving after the first event raises nothing, and the next call works."""
    world.answers()
    async with world.model.stream(call(stream=True)):
        pass
    world.answers()
    assert (await world.model.complete(call())).model == ARM


async def test_the_catalogue_lists_models_with_prices(world: World) -> None:
    """Prices are USD a token; a model without prices has none, a free one has zero."""
    world.lists()
    assert await world.model.catalogue() == LISTED
