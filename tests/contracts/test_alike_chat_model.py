"""Fake and real `ChatModel` return the same: an upstream sends what the fake says, and whole values are compared."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from shared.bandit.arms import Arm, Price
from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import Scope, UpstreamError
from shared.ports import ChatModel
from shared.schemas.upstream import AnswerStream, Call, Heard, Usage
from tests.support import raw_upstream as raw
from tests.support.chat_calls import call_of
from tests.support.fakes.chat_model import COMMENT, FakeChatModel, Reply
from tests.support.fakes.sink import FakeSink
from tests.support.whole_values import outcome

ARM = "vendor/model-a"
REPLIES = {
    "text": Reply("Grüße und 世界"),
    "tools": Reply("I look.", calls=("call-1", "call-2")),
    "no usage": Reply("Hello", usage=None),
    "free": Reply("Hello", Usage(3, 1, 0.0)),
    "no cost": Reply("Hello", Usage(3, 1, None)),
}
LISTED = (Arm(ARM, Price(1e-6, 2e-6)), Arm("vendor/free", Price(0.0, 0.0)), Arm("plain"))
RELAY = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"upstream_rejected"}}'
REFUSALS = {
    400: UpstreamError(
        "the upstream answered 400", status=400, try_next=False, relay=RELAY, reason="no", scope=Scope.REQUEST
    ),
    429: UpstreamError("the upstream answered 429", status=429, reason="no", cool_s=5.0),
    503: UpstreamError("the upstream answered 503", status=503, reason="no", cool_s=2.0),
}


@pytest.fixture
async def upstream() -> AsyncIterator[raw.RawUpstream]:
    async with raw.raw_upstream() as listening:
        yield listening


@asynccontextmanager
async def real_model(upstream: raw.RawUpstream) -> AsyncIterator[HttpChatModel]:
    async with connections(upstream.url) as http:
        yield HttpChatModel(http, "sk-test", first_byte_timeout_s=30, gap_timeout_s=30)


def call(**body: object) -> Call:
    messages = [{"role": "user", "content": "Say hello"}]
    return call_of(ARM, {"messages": messages, **body}, "0190-id", time.monotonic() + 60, {})


def fake_that(reply: Reply) -> FakeChatModel:
    return FakeChatModel(LISTED, reply)


async def streamed(model: ChatModel, **body: object) -> tuple[list[Heard], list[bytes], dict[str, object], object]:
    """Return all that a stream says: what was heard first, its events, and each attribute of the stream."""
    sink = FakeSink()
    async with model.stream(call(stream=True, **body)) as answer:
        heard = [await answer.wait(30.0)]
        while heard[-1] is Heard.COMMENT:
            heard.append(await answer.wait(30.0))
        failure: object = None
        try:
            await answer.pour(sink)
        except UpstreamError as error:
            failure = str(error), vars(error)
        names = (*AnswerStream.__annotations__, "calls", "choices")
        return heard, sink.frames, {name: getattr(answer, name) for name in names}, failure


@pytest.mark.parametrize("reply", REPLIES.values(), ids=list(REPLIES))
async def test_a_whole_answer(upstream: raw.RawUpstream, reply: Reply) -> None:
    """Body to the byte, usage, model, length of the text, ids of tool calls."""
    fake = fake_that(reply)
    upstream.script = raw.whole((await fake.complete(call())).body)
    async with real_model(upstream) as real:
        assert await outcome(real.complete(call())) == await outcome(fake.complete(call()))


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=list(REPLIES))
async def test_a_stream(upstream: raw.RawUpstream, reply: Reply, usage: bool) -> None:
    """Events to the byte, usage with and without being asked for it, tool calls, counts, comments."""
    fake, everything = fake_that(reply), {"stream_options": {"include_usage": True}}
    sink = FakeSink()
    async with fake.stream(call(stream=True, **everything)) as answer:
        await answer.pour(sink)
    upstream.script = raw.streamed([*sink.frames, b"data: [DONE]\n\n"])
    wanted = everything if usage else {}
    async with real_model(upstream) as real:
        assert await outcome(streamed(real, **wanted)) == await outcome(streamed(fake, **wanted))


async def test_a_comment_before_the_first_event(upstream: raw.RawUpstream) -> None:
    """It is heard as one, and kept to be passed on."""
    fake = fake_that(Reply("Hello", silence_s=0.3, comment_s=0.2))
    sink = FakeSink()
    async with fake.stream(call(stream=True)) as answer:
        await answer.pour(sink)
    usage = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 7, "cost": 0.00021}})
    frames: list[bytes | float] = [COMMENT, 0.5, *sink.frames, b"data: " + usage + b"\n\n", b"data: [DONE]\n\n"]
    upstream.script = raw.streamed(frames)
    async with real_model(upstream) as real:
        assert await outcome(streamed(real)) == await outcome(streamed(fake))


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_refusal(upstream: raw.RawUpstream, status: int, streaming: bool) -> None:
    """The error with all of its attributes, whole answer or stream."""
    fake = fake_that(Reply(error=REFUSALS[status]))
    upstream.script = raw.whole({"error": {"message": "no", "code": status}}, f"{status} No")
    async with real_model(upstream) as real:
        sides = [streamed(model) if streaming else model.complete(call()) for model in (real, fake)]
        ours, theirs = [await outcome(side) for side in sides]
        assert ours == theirs


async def test_a_stream_that_breaks_off(upstream: raw.RawUpstream) -> None:
    """What came before the cut, and the error with all of its attributes."""
    cut = UpstreamError("the upstream's stream broke off", spent=True)
    fake = fake_that(Reply("Hello world", error=cut, break_after=1))
    _, frames, *_ = await streamed(fake)
    upstream.script = raw.streamed(frames)
    async with real_model(upstream) as real:
        assert await outcome(streamed(real)) == await outcome(streamed(fake))


async def test_the_catalogue(upstream: raw.RawUpstream) -> None:
    """Models with all of their facts."""
    priced = {"id": ARM, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
    free = {"id": "vendor/free", "pricing": {"prompt": "0", "completion": "0"}}
    upstream.script = raw.whole({"data": [priced, free, {"id": "plain", "object": "model"}]})
    async with real_model(upstream) as real:
        assert await outcome(real.catalogue()) == await outcome(fake_that(Reply()).catalogue())
