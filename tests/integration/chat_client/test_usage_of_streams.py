"""Usage that a stream reports in more than one event."""

from __future__ import annotations

from shared.clients.chat_client import HttpChatModel
from shared.schemas.upstream import Usage
from tests.integration.chat_client.calls import call
from tests.support import raw_upstream as raw
from tests.support.fakes.sink import FakeSink


async def test_each_figure_is_the_last_that_was_reported(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """A later event without a figure takes nothing back, and an impossible one changes nothing."""
    usages = (
        {"prompt_tokens": 12, "completion_tokens": 1},
        {"completion_tokens": 7, "cost": 0.25},
        {"completion_tokens": -1, "cost": None},
    )
    events = [raw.event({**raw.chunk("x"), "usage": usage}) for usage in usages]
    upstream.script = raw.streamed([*events, raw.event(raw.chunk(None, "stop")), b"data: [DONE]\n\n"])
    async with model.stream(call(stream=True)) as answer:
        await answer.pour(FakeSink())
    assert answer.usage == Usage(12, 7, 0.25)


async def test_every_tool_call_of_a_stream_is_known(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """The conversation goes on with its model, whichever call's result comes next."""
    deltas = [{"tool_calls": [{"index": at, "id": name}]} for at, name in enumerate(("one", "two", "one", "three"))]
    events = [raw.event({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    upstream.script = raw.streamed([*events, raw.event(raw.chunk(None, "stop")), b"data: [DONE]\n\n"])
    async with model.stream(call(stream=True)) as answer:
        await answer.pour(FakeSink())
    assert answer.calls == ("one", "two", "three")
