"""Streams: however they are cut, padded or split, a truncated answer never looks complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import UpstreamError
from tests import raw_upstream as raw
from tests.fakes.chat_model import text_of
from tests.fakes.sink import FakeSink
from tests.integration.chat_client.calls import CUT, KEY, MIB, PINGS, both, call, error, failure, read


async def test_comments_do_not_count_as_an_answer(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """`: OPENROUTER PROCESSING` for ever is silence."""
    upstream.script = raw.streamed(PINGS)
    started = time.monotonic()
    assert (await failure(model, streaming=True)).timed_out
    assert time.monotonic() - started < 1.5


async def test_comments_do_not_fill_a_gap(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Between data events only data counts; what came before stays."""
    upstream.script = raw.streamed([raw.event(raw.chunk("one")), *PINGS])
    sink = FakeSink()
    with pytest.raises(UpstreamError) as caught:
        await read(model, sink)
    assert caught.value.timed_out
    assert text_of(sink.frames) == "one"


@pytest.mark.parametrize(
    "script",
    [
        raw.streamed([CUT], end="cut"),
        raw.streamed([CUT], end="reset"),
        raw.streamed([CUT]),  # a proper end of the body, but nobody said that the answer was over
        raw.until_closed([CUT]),
        raw.until_closed([CUT, raw.event(raw.chunk("Grüße"))[:-12]]),  # inside an event
        raw.until_closed([CUT, raw.event(raw.chunk("世"))[:80]]),
        raw.streamed([CUT, raw.event(error("provider fell over", 502))]),
        raw.streamed([CUT, raw.event(raw.chunk(None, "error"))]),
        raw.streamed([CUT, b"data: {broken\n\n"]),
        raw.streamed([CUT, b"data: \xff\xfe\n\n"]),
        raw.streamed([CUT, b"data: " + b"x" * (5 * MIB) + b"\n\n"]),
        raw.streamed([CUT, b"data: x\n" * 700_000]),
    ],
    ids=["cut", "reset", "clean-end", "eof", "mid-event", "mid-character", "error-event", "finish-error", "garbage",
         "bad-utf8", "long-line", "long-event"],
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
    """Late and repeated chunks after `[DONE]` are nobody's."""
    upstream.script = raw.streamed([*raw.good_events(), CUT, b"data: [DONE]\n\n", b"data: {broken\n\n"])
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_an_empty_stream_is_a_failure_before_the_first_byte(
    upstream: raw.RawUpstream, model: HttpChatModel
) -> None:
    """Nothing but `[DONE]` is no answer; another arm may give one."""
    for parts in ([], [b"data: [DONE]\n\n"], [b": ping\n\n"]):
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
