"""Streams: however they are cut, padded or split, a truncated answer never looks complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import UpstreamError
from shared.schemas.upstream import Heard
from tests.integration.chat_client.calls import CUT, KEY, MIB, PINGS, both, call, error, failure, read
from tests.support import raw_upstream as raw
from tests.support.fakes.chat_model import text_of
from tests.support.fakes.sink import FakeSink


async def test_comments_are_life_before_the_first_event(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """They may go on for longer than the first byte's deadline (0.5 s) and the gap (0.3 s)."""
    upstream.script = raw.streamed([*PINGS[:16], *raw.good_events()])
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_comments_are_life_between_events(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """A lively stream may last longer than a gap, and so may a pause that comments fill."""
    one, two, three = raw.good_events()[1:4]
    upstream.script = raw.streamed([one, 0.2, two, 0.2, *PINGS[:8], three, 0.2, *raw.good_events()[4:]])
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_a_part_of_an_event_is_life(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Any byte counts."""
    event = raw.good_events()[1]
    parts = [event[at : at + len(event) // 5 + 1] for at in range(0, len(event), len(event) // 5 + 1)]
    slowly: list[bytes | float] = [part for piece in parts for part in (piece, 0.15)]
    upstream.script = raw.streamed([*slowly, *raw.good_events()[2:]])
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_comments_without_end_are_bounded_by_the_request(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """The request's own deadline rules."""
    upstream.script = raw.streamed(PINGS)
    started = time.monotonic()
    assert (await failure(model, streaming=True, deadline_s=1.0)).timed_out
    assert 0.9 < time.monotonic() - started < 1.6


@pytest.mark.parametrize(
    ("parts", "low", "high"),
    [([CUT], 0.25, 0.48), ([b": ping\n\n", 0.4, b": ping\n\n"], 0.65, 1.2), ([], 0.48, 0.9),
     ([b": ping\n\n"], 0.48, 0.9)],
    ids=["after an event", "after late comments", "after the head", "after an early comment"],
)  # fmt: skip
async def test_only_silence_is_a_fault(
    upstream: raw.RawUpstream, model: HttpChatModel, parts: Sequence[bytes | float], low: float, high: float
) -> None:
    """A gap (0.3 s) after the last byte; before the first event not before the first byte's deadline (0.5 s)."""
    upstream.script = raw.streamed(parts, end="hang")
    started = time.monotonic()
    refused = await failure(model, streaming=True)
    assert (refused.timed_out, refused.spent) == (True, True)
    assert low < time.monotonic() - started < high


async def test_comments_are_passed_on_but_not_too_often(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """At most one in a quarter of a second, with its text."""
    comments: list[bytes | float] = [b": thinking \xff\n\n", 0.05] * 20
    upstream.script = raw.streamed([*raw.good_events()[:2], *comments, *raw.good_events()[2:]])
    sink = FakeSink()
    async with model.stream(call(stream=True)) as answer:
        await answer.pour(sink, keep_alive_s=10)
        passed_on = [frame for frame in sink.frames if frame.startswith(b":")]
        assert answer.events == len(sink.frames) - len(passed_on)
    assert text_of(sink.frames) == "".join(raw.WORDS)
    assert set(passed_on) == {b": thinking \n\n"}
    assert 3 <= len(passed_on) <= 5


async def test_a_silent_stream_is_kept_alive_until_it_is_dead(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Our comments are no life of the upstream."""
    upstream.script = raw.streamed([CUT], end="hang")
    sink = FakeSink()
    async with model.stream(call(stream=True)) as answer:
        with pytest.raises(UpstreamError) as caught:
            await answer.pour(sink, keep_alive_s=0.1)
    assert caught.value.timed_out
    assert sink.frames[1:] == [b": keep-alive\n\n"] * 2


async def test_wait_returns_what_has_arrived(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """First nothing, then a comment, then the event."""
    upstream.script = raw.streamed([0.1, b": ping\n\n", 0.1, *raw.good_events()[1:]])
    async with model.stream(call(stream=True)) as answer:
        assert await answer.wait(0.02) is Heard.NOTHING
        assert await answer.wait(1) is Heard.COMMENT
        assert answer.comment == b": ping\n\n"
        assert await answer.wait(0.02) is Heard.NOTHING
        assert await answer.wait(1) is Heard.EVENT
        assert answer.events == 0
        sink = FakeSink()
        await answer.pour(sink)
        assert text_of(sink.frames) == "".join(raw.WORDS)


@pytest.mark.parametrize(
    "script",
    [
        raw.streamed([CUT], end="cut"),
        raw.streamed([CUT], end="reset"),
        raw.streamed([CUT]),  # a proper end of the body, but no end of the answer
        raw.until_closed([CUT]),
        raw.until_closed([CUT, raw.event(raw.chunk("Grüße"))[:-12]]),  # inside an event
        raw.until_closed([CUT, raw.event(raw.chunk("世"))[:80]]),
        raw.streamed([CUT, raw.event(error("provider fell over", 502))]),
        raw.streamed([CUT, raw.event(raw.chunk(None, "error"))]),
        raw.streamed([CUT, b"data: {broken\n\n"]),
        raw.streamed([CUT, b"data: \xff\xfe\n\n"]),
        raw.streamed([CUT, b"data: " + b"x" * (34 * MIB) + b"\n\n"]),
        raw.streamed([CUT, (b"data: " + b"x" * 1000 + b"\n") * 35_000]),
        raw.streamed([raw.event(raw.chunk("one", "")), raw.event(raw.chunk(None, ""))], end="cut"),
        raw.until_closed([raw.event(raw.chunk("one", ""))]),
        raw.streamed([CUT, b'event: error\ndata: {"message": "fell over"}\n\n', b"data: [DONE]\n\n"]),
        raw.streamed([CUT, b"event: error\ndata: fell over\n\n", b"data: [DONE]\n\n"]),
    ],
    ids=["cut", "reset", "clean-end", "eof", "mid-event", "mid-character", "error-event", "finish-error", "garbage",
         "bad-utf8", "long-line", "long-event", "empty-reason-cut", "empty-reason-eof", "error-type", "error-text"],
)  # fmt: skip
async def test_a_broken_stream_never_looks_complete(
    upstream: raw.RawUpstream, model: HttpChatModel, script: raw.Script
) -> None:
    """Whatever breaks a stream: the events before it are handed out, then an error that counts as spent."""
    upstream.script = script
    sink = FakeSink()
    with pytest.raises(UpstreamError) as caught:
        await read(model, sink)
    assert text_of(sink.frames) == "one"
    assert caught.value.spent


STOP = raw.event(raw.chunk(None, "stop"))
TAIL = raw.event(raw.chunk() | {"choices": [], "usage": raw.USAGE})


@pytest.mark.parametrize(
    "script",
    [
        raw.streamed([CUT, STOP, TAIL], end="cut"),
        raw.streamed([CUT, STOP, TAIL], end="reset"),
        raw.streamed([CUT, STOP], end="cut"),
        raw.streamed([CUT, STOP], end="hang"),
        raw.until_closed([CUT, STOP[:-2]]),
        raw.streamed([CUT, STOP[:-1]]),
        raw.streamed([CUT, STOP, b"data: [DONE]"]),
        raw.streamed([CUT, b" data: no field\n\ndata:  [DONE] \r\n\r\n"], end="hang"),
        raw.streamed([raw.event(raw.chunk("one", "")), raw.event(raw.chunk(None, ""))]),
        raw.streamed([CUT, raw.event({"choices": [{"delta": None, "finish_reason": "stop", "index": None}]})]),
    ],
    ids=["cut", "reset", "no-usage", "silence", "no-line-end", "no-blank-line", "no-end-of-done", "blanks-around-done",
         "empty-reason", "index-null"],
)  # fmt: skip
async def test_nothing_is_missing_from_a_whole_answer(
    upstream: raw.RawUpstream, model: HttpChatModel, script: raw.Script
) -> None:
    """After the last finish_reason, or `[DONE]`, however the connection ends."""
    upstream.script = script
    assert text_of(await read(model)) == "one"


async def test_a_break_is_an_end_only_where_all_choices_came(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """With n = 2 the second choice may not have begun when the connection broke."""
    upstream.script = raw.streamed([CUT, STOP], end="cut")
    with pytest.raises(UpstreamError):
        await read(model, n=2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_a_stream_may_be_split_anywhere(upstream: raw.RawUpstream, model: HttpChatModel, size: int) -> None:
    """Pieces that end inside a character, a line end or an event give the same text."""
    whole = b"".join(raw.good_events()).replace(b"\n\n", b"\r\n\r\n")
    upstream.script = raw.streamed([whole[at : at + size] for at in range(0, len(whole), size)])
    assert text_of(await read(model)) == "".join(raw.WORDS)


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b""], ids=["done", "no-done"])
async def test_a_finish_reason_is_an_end(upstream: raw.RawUpstream, model: HttpChatModel, last: bytes) -> None:
    """Some upstreams forget `[DONE]`; a finish_reason says as well that nothing is missing."""
    upstream.script = raw.streamed([CUT, raw.event(raw.chunk(None, "stop")), last or b": bye\n\n"])
    assert text_of(await read(model)) == "one"


async def test_every_choice_must_have_ended(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """With n = 2, one finished choice does not make up for the other."""
    second = raw.chunk("two")
    second["choices"] = [{"index": 1, "delta": {"content": "two"}, "finish_reason": None}]
    upstream.script = raw.streamed([CUT, raw.event(second), raw.event(raw.chunk(None, "stop"))])
    with pytest.raises(UpstreamError):
        await read(model)


async def test_what_follows_done_is_ignored(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Late and repeated chunks after `[DONE]` are dropped."""
    upstream.script = raw.streamed([*raw.good_events(), CUT, b"data: [DONE]\n\n", b"data: {broken\n\n"])
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_an_empty_stream_is_a_failure_before_the_first_byte(
    upstream: raw.RawUpstream, model: HttpChatModel
) -> None:
    """Nothing but `[DONE]` is no answer; another arm may give one."""
    for parts in ([], [b"data: [DONE]\n\n"], [b": ping\n\n"], [b"data: {x\n\n", b"data: 3\n\n", b"data: [DONE]\n\n"]):
        upstream.script = raw.streamed(parts)
        refused = await failure(model, streaming=True)
        assert (refused.try_next, refused.spent) == (True, True)


async def test_a_stream_always_asks_for_usage(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """What an answer cost is wanted, whether the client asked or not; its other options stay."""
    upstream.script = raw.streamed(raw.good_events())
    await read(model, stream_options={"include_obfuscation": False})
    assert upstream.seen[0].json["stream_options"] == {"include_obfuscation": False, "include_usage": True}


async def test_a_finished_stream_gives_its_connection_back(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """A TLS handshake for each answer would cost more than the router does."""
    upstream.script = raw.streamed(raw.good_events())
    for _ in range(3):
        await read(model)
    assert upstream.connections == 1


@both
async def test_a_client_that_leaves_stops_the_upstream(
    upstream: raw.RawUpstream, model: HttpChatModel, streaming: bool
) -> None:
    """Cancelled while waiting or in the middle: the upstream's connection is closed within a second."""
    upstream.script = raw.streamed([CUT], end="hang") if streaming else raw.silence()
    slow: Sequence[object] = ()
    async with connections(upstream.url) as http:
        patient = HttpChatModel(http, KEY, first_byte_timeout_s=30, gap_timeout_s=30)
        task = asyncio.ensure_future(read(patient) if streaming else patient.complete(call()))
        await asyncio.sleep(0.1)
        task.cancel()
        slow = await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(upstream.closed.wait(), 1)
    assert isinstance(slow[0], asyncio.CancelledError)
