"""What each fault of an upstream means: the table of `reliability` as a table of tests, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from email.utils import format_datetime

import aiohttp
import pytest

from deploy.local.servers import free_port
from shared.clients.chat_client import HttpChatModel
from shared.errors import UpstreamError
from shared.schemas.upstream import Call
from tests import raw_upstream as raw
from tests.fakes.chat_model import text_of

KEY = "sk-or-v1-0123456789abcdef"
MIB = 1024 * 1024
PINGS: list[bytes | float] = [b": OPENROUTER PROCESSING\n\n", 0.1] * 30


@pytest.fixture
async def upstream() -> AsyncIterator[raw.RawUpstream]:
    async with raw.raw_upstream() as server:
        yield server


@pytest.fixture
async def model(upstream: raw.RawUpstream) -> AsyncIterator[HttpChatModel]:
    async with aiohttp.ClientSession() as session:
        yield HttpChatModel(session, upstream.url, KEY, first_byte_timeout_s=0.5, gap_timeout_s=0.3)


def call(deadline_s: float = 5.0, **body: object) -> Call:
    body = {"messages": [{"role": "user", "content": "hi"}], **body}
    return Call("vendor/model-a", body, "0190-own", time.monotonic() + deadline_s, {"x-simulate": "html"})


async def read(
    model: HttpChatModel, frames: list[bytes] | None = None, *, deadline_s: float = 5.0, **body: object
) -> list[bytes]:
    frames = [] if frames is None else frames
    async with model.stream(call(deadline_s, stream=True, **body)) as answer:
        async for frame in answer:
            frames.append(frame)
    return frames


async def failure(model: HttpChatModel, *, streaming: bool, deadline_s: float = 5.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await (read(model, deadline_s=deadline_s) if streaming else model.complete(call(deadline_s)))
    return caught.value


def error(message: str, code: object = 400, **more: object) -> dict[str, object]:
    return {"error": {"message": message, "code": code, **more}}


both = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])


@both
@pytest.mark.parametrize(
    ("status", "try_next", "cools"),
    [(408, True, True), (425, True, True), (429, True, True), (500, True, True), (502, True, True), (503, True, True),
     (529, True, True), (401, False, True), (402, False, True), (403, False, True), (404, True, True),
     (410, True, True), (400, False, False), (413, False, False), (422, False, False), (302, False, True)],
)  # fmt: skip
async def test_a_status_says_what_to_do(
    upstream: raw.RawUpstream, model: HttpChatModel, *, status: int, try_next: bool, cools: bool, streaming: bool
) -> None:
    """A refusal before any byte costs nothing; who may answer instead depends on whose fault it was."""
    upstream.script = raw.whole(error("no", status), f"{status} No", location="http://127.0.0.1:9/elsewhere")
    refused = await failure(model, streaming=streaming)
    assert (refused.status, refused.try_next, refused.spent) == (status, try_next, False)
    assert (refused.cool_s > 0) is cools
    assert (refused.relay is not None) is (status in (400, 413, 422))
    assert len(upstream.seen) == 1, "redirects are not followed, and nothing is tried twice here"


@both
@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b'{"choices": [', "not JSON"),
        (b"", "not JSON"),
        (b"<html>busy</html>", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": [{}]}', "without a message"),
        (b'{"choices": [{"message": {}}], "n": NaN}', "not JSON"),
        (json.dumps(error("provider fell over", 502)).encode(), "200 with an error"),
        (json.dumps({**raw.WHOLE, "error": "flagged"}).encode(), "200 with an error"),
    ],
)
async def test_a_200_that_is_no_answer_is_a_paid_failure(
    upstream: raw.RawUpstream, model: HttpChatModel, answer: bytes, word: str, streaming: bool
) -> None:
    """Garbage, emptiness and an error under 200 are failures, may have been billed, and another arm may try."""
    upstream.script = raw.whole(answer, kind="text/html" if answer.startswith(b"<") else "application/json")
    refused = await failure(model, streaming=streaming)
    assert word in str(refused)
    assert (refused.status, refused.try_next, refused.spent, refused.relay) == (200, True, True, None)


@both
async def test_no_connection_costs_nothing(streaming: bool) -> None:
    """Refused: the next arm may be asked, and nothing was spent."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{free_port()}"
        away = HttpChatModel(session, url, KEY, first_byte_timeout_s=1, gap_timeout_s=1)
        refused = await failure(away, streaming=streaming)
    assert (refused.status, refused.try_next, refused.spent, refused.timed_out) == (None, True, False, False)
    assert url not in str(refused)


@both
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_lost_after_the_question_may_have_been_paid(
    upstream: raw.RawUpstream, model: HttpChatModel, reset: bool, streaming: bool
) -> None:
    """Asked and then disconnected is ambiguous: it counts as spent, and is not repeated here."""
    upstream.script = raw.hang_up(reset=reset)
    refused = await failure(model, streaming=streaming)
    assert (refused.status, refused.spent, refused.timed_out) == (None, True, False)
    assert len(upstream.seen) == 1


@both
async def test_silence_ends_at_the_first_byte_deadline(
    upstream: raw.RawUpstream, model: HttpChatModel, streaming: bool
) -> None:
    """An upstream that says nothing is given up, counted as spent, and its connection is closed."""
    upstream.script = raw.silence()
    started = time.monotonic()
    refused = await failure(model, streaming=streaming)
    assert (refused.timed_out, refused.spent) == (True, True)
    assert 0.4 < time.monotonic() - started < 1.5
    await asyncio.wait_for(upstream.closed.wait(), 1)


async def test_comments_do_not_count_as_an_answer(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """`: OPENROUTER PROCESSING` for ever is silence."""
    upstream.script = raw.streamed(PINGS)
    started = time.monotonic()
    assert (await failure(model, streaming=True)).timed_out
    assert time.monotonic() - started < 1.5


async def test_comments_do_not_fill_a_gap(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Between data events only data counts; what came before stays."""
    upstream.script = raw.streamed([raw.event(raw.chunk("one")), *PINGS])
    frames: list[bytes] = []
    with pytest.raises(UpstreamError) as caught:
        await read(model, frames)
    assert caught.value.timed_out
    assert text_of(frames) == "one"


async def test_a_whole_answer_may_take_longer_than_a_gap_but_not_stall(
    upstream: raw.RawUpstream, model: HttpChatModel
) -> None:
    """Blanks while a model thinks are fine; half an answer and then nothing is a timeout."""
    body = json.dumps(raw.WHOLE, ensure_ascii=False).encode()
    upstream.script = raw.streamed([b" ", 0.2, b"\n", 0.2, b" ", 0.2, body])
    assert json.loads((await model.complete(call())).body) == raw.WHOLE
    upstream.script = raw.streamed([body[:20]], end="hang")
    assert (await failure(model, streaming=False)).timed_out


@both
async def test_the_deadline_of_the_request_rules(
    upstream: raw.RawUpstream, model: HttpChatModel, streaming: bool
) -> None:
    """No wait outlives the request's own deadline."""
    upstream.script = raw.silence()
    started = time.monotonic()
    assert (await failure(model, streaming=streaming, deadline_s=0.1)).timed_out
    assert time.monotonic() - started < 0.4


CUT = raw.event(raw.chunk("one"))


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
    frames: list[bytes] = []
    with pytest.raises(UpstreamError) as caught:
        await read(model, frames)
    assert text_of(frames) == "one"
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


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 1e18, "completion_tokens": 2},
     {"prompt_tokens": 10**18, "completion_tokens": 2}, {"prompt_tokens": True, "completion_tokens": 2},
     {"prompt_tokens": "12", "completion_tokens": 2}, {"prompt_tokens": 3}, "many", [1]],
)  # fmt: skip
async def test_impossible_usage_is_ignored(upstream: raw.RawUpstream, model: HttpChatModel, usage: object) -> None:
    """Figures that cannot be are not believed; the answer itself is."""
    upstream.script = raw.whole(raw.WHOLE | {"usage": usage})
    assert (await model.complete(call())).usage is None


@pytest.mark.parametrize("cost", [-1, 1e18, "free", True, None])
async def test_an_impossible_cost_is_ignored_alone(
    upstream: raw.RawUpstream, model: HttpChatModel, cost: object
) -> None:
    """Tokens stay, so that the cost can be counted from list prices."""
    upstream.script = raw.whole(raw.WHOLE | {"usage": raw.USAGE | {"cost": cost}})
    usage = (await model.complete(call())).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.cost_usd) == (12, None)


@pytest.mark.parametrize("name", ["a\r\nx-evil: 1", "x" * 10_000, "", 7, "ü", None])
async def test_a_models_name_is_safe_in_a_header(upstream: raw.RawUpstream, model: HttpChatModel, name: object) -> None:
    """A name that could break a header or a label is none."""
    upstream.script = raw.whole(raw.WHOLE | {"model": name})
    assert (await model.complete(call())).model is None


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("999999999", 60, 60), ("-5", 0, 0), ("inf", 0.1, 10), ("soon", 0.1, 10), ("nan", 0.1, 10),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 60, 60), ("in-20-seconds", 15, 21)],
)  # fmt: skip
async def test_retry_after_is_believed_for_a_minute_at_most(
    upstream: raw.RawUpstream, model: HttpChatModel, value: str, low: float, high: float
) -> None:
    """Seconds, a date or nonsense: an arm rests between nothing and a minute."""
    if value == "in-20-seconds":
        from datetime import UTC, datetime, timedelta

        value = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    upstream.script = raw.whole(error("busy", 429), "429 Busy", retry_after=value)
    assert low <= (await failure(model, streaming=False)).cool_s <= high


async def test_a_relayed_refusal_holds_no_secret(
    upstream: raw.RawUpstream, model: HttpChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    """The upstream's words reach the client in OpenAI's shape, without our key or anybody's address."""
    words = f"bad key {KEY} at https://internal.example/v1, Authorization: Bearer {KEY}, temperature is too hot"
    upstream.script = raw.whole(error(words, "invalid_value", param="temperature"), "400 Bad Request")
    with caplog.at_level(logging.DEBUG):
        refused = await failure(model, streaming=False)
    assert refused.relay is not None
    told = json.loads(refused.relay)["error"]
    assert told["type"] == "invalid_request_error"
    assert (told["code"], told["param"]) == ("invalid_value", "temperature")
    assert "temperature is too hot" in told["message"]
    for text in (refused.relay.decode(), str(refused), caplog.text):
        assert KEY not in text
        assert "internal.example" not in text


@pytest.mark.parametrize("message", ["This model's maximum context length is 8192 tokens", "prompt is too long: 9 > 8"])
async def test_too_long_for_one_model_may_fit_another(
    upstream: raw.RawUpstream, model: HttpChatModel, message: str
) -> None:
    """A full context is the model's limit: the next arm is asked, and the client told if none can."""
    upstream.script = raw.whole(error(message), "400 Bad Request")
    refused = await failure(model, streaming=False)
    assert (refused.try_next, refused.cool_s) == (True, 0)
    assert refused.relay is not None


async def test_moderation_by_one_model_is_not_our_keys_fault(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """OpenRouter's 403 with reasons means this prompt and this model: the next one may answer, nobody rests."""
    upstream.script = raw.whole(error("flagged", 403, metadata={"reasons": ["violence"]}), "403 Forbidden")
    refused = await failure(model, streaming=False)
    assert (refused.try_next, refused.cool_s, refused.relay) == (True, 0, None)


async def test_a_packed_bomb_is_cut_at_the_bound(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """100 MiB of blanks in 100 kB are refused, not unpacked."""
    bomb = gzip.compress(b" " * (100 * MIB))
    upstream.script = raw.whole(bomb, content_encoding="gzip")
    assert "too large" in str(await failure(model, streaming=False))


async def test_what_goes_out(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """The client's fields go on untouched, the arm and our key are added, control headers are not."""
    upstream.script = raw.whole()
    await model.complete(call(stream=False, stream_options={"include_usage": True}, temperature=0.5, vendor_field=[1]))
    request = upstream.seen[0]
    assert request.line == "POST /api/v1/chat/completions HTTP/1.1"
    assert request.json == {
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "vendor_field": [1],
        "model": "vendor/model-a",
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-title"] == "LLM Router"
    assert "x-simulate" not in request.headers


async def test_a_stream_always_asks_for_usage(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """What an answer cost is wanted, whether the client asked or not; its other options stay."""
    upstream.script = raw.streamed(raw.good_events())
    await read(model, stream_options={"include_obfuscation": False})
    assert upstream.seen[0].json["stream_options"] == {"include_obfuscation": False, "include_usage": True}


async def test_without_a_key_the_control_headers_go_out(upstream: raw.RawUpstream) -> None:
    """A simulated upstream is told how to behave; no Authorization is invented."""
    upstream.script = raw.whole()
    async with aiohttp.ClientSession() as session:
        await HttpChatModel(session, upstream.url + "/", None, first_byte_timeout_s=1, gap_timeout_s=1).complete(call())
    assert upstream.seen[0].headers["x-simulate"] == "html"
    assert "authorization" not in upstream.seen[0].headers


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
    async with aiohttp.ClientSession() as session:
        patient = HttpChatModel(session, upstream.url, KEY, first_byte_timeout_s=30, gap_timeout_s=30)
        task = asyncio.ensure_future(read(patient) if streaming else patient.complete(call()))
        await asyncio.sleep(0.1)
        task.cancel()
        slow = await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(upstream.closed.wait(), 1)
    assert isinstance(slow[0], asyncio.CancelledError)


@pytest.mark.parametrize("pricing", [{"prompt": "-1", "completion": "-1"}, {"prompt": "nan", "completion": "0"},
                                     {"prompt": "1e9", "completion": "0"}, {"prompt": None}, "free"])  # fmt: skip
async def test_a_strange_price_is_no_price(upstream: raw.RawUpstream, model: HttpChatModel, pricing: object) -> None:
    """OpenRouter's `-1` (it depends) and nonsense leave a model without a price prior; unusable names are skipped."""
    upstream.script = raw.whole({"data": [{"id": "a/b", "pricing": pricing}, {"id": "a\nb"}, {"id": 3}, "x", None]})
    (arm,) = await model.catalogue()
    assert (arm.id, arm.price) == ("a/b", None)


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"data": 3}', b"<html>"])
async def test_a_catalogue_that_is_none_is_an_error(
    upstream: raw.RawUpstream, model: HttpChatModel, answer: bytes
) -> None:
    """Garbage instead of a list never empties the list that we have."""
    upstream.script = raw.whole(answer)
    with pytest.raises(UpstreamError):
        await model.catalogue()
