"""Forms of a stream that OpenAI's own SDKs read, and so do we; an event that cannot be read costs itself."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest

from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import UpstreamError
from tests.integration.chat_client.calls import KEY, MIB, call, failure, read
from tests.support import raw_upstream as raw
from tests.support.fakes.chat_model import text_of
from tests.support.fakes.sink import FakeSink

GOOD = raw.good_events()
TEXT = "".join(raw.WORDS)
UNREAD = {"not_json": 0, "not_object": 0}


@pytest.fixture
async def model(upstream: raw.RawUpstream) -> AsyncIterator[HttpChatModel]:
    """A patient client: none of these tests is about time, and a busy machine makes gaps of its own."""
    async with connections(upstream.url) as http:
        yield HttpChatModel(http, KEY, first_byte_timeout_s=20, gap_timeout_s=20)


def pretty(body: object) -> bytes:
    """Return an event of several lines."""
    return b"".join(b"data: " + line + b"\n" for line in json.dumps(body, indent=1).encode().split(b"\n")) + b"\n"


FORMS: dict[str, list[bytes]] = {
    "no blank": [event.replace(b"data: ", b"data:") for event in GOOD],
    "lone CR": [event.replace(b"\n", b"\r") for event in GOOD],
    "CRLF": [event.replace(b"\n", b"\r\n") for event in GOOD],
    "all three": [GOOD[0], *(event.replace(b"\n\n", b"\r\n\r") for event in GOOD[1:])],
    "byte order mark": [b"\xef\xbb\xbf", *GOOD[1:]],
    "empty data first": [b"data:\n\ndata: \n\ndata\n\n", *GOOD],
    "empty data between": [*GOOD[:2], b"data: \n\n", *GOOD[2:]],
    "other fields": [b"id: 7\nretry: 10\nevent: chunk\nunknown\n" + event for event in GOOD[1:]],
    "empty lines": [b"\n\n\n" + event + b"\n\n" for event in GOOD],
    "several lines": [pretty(raw.chunk(word)) for word in raw.WORDS] + GOOD[4:],
    "an empty line of data": [b"data:\n" + event for event in GOOD[1:]],
    "escaped": [event.decode().encode("ascii", "backslashreplace").replace(b"\\xfc", b"\\u00fc").replace(
        b"\\xdf", b"\\u00df") for event in GOOD],
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_is_read_in_any_form(
    upstream: raw.RawUpstream, model: HttpChatModel, form: str, size: int
) -> None:
    """The same text and usage come of each, an event on a line of its own."""
    whole = b"".join(FORMS[form])
    upstream.script = raw.streamed([whole[at : at + size] for at in range(0, len(whole), size)])
    frames = await read(model)
    assert text_of(frames) == TEXT
    assert all(frame.count(b"\n") == 2 for frame in frames)


@pytest.mark.parametrize("done", [b"[DONE]", b" [DONE]", b"\t[DONE] ", b"[DONE]  "])
async def test_done_ends_a_stream_with_blanks_around_it(
    upstream: raw.RawUpstream, model: HttpChatModel, done: bytes
) -> None:
    """It makes the answer whole where nothing else does: no finish_reason came, and the connection stays open."""
    upstream.script = raw.streamed([raw.event(raw.chunk("one")), b"data:" + done + b"\n\n"], end="hang")
    assert text_of(await read(model)) == "one"


@pytest.mark.parametrize(
    ("event", "unread"),
    [
        (b"event: ping\ndata: ping\n\n", "not_json"),
        (b"data: {broken\n\n", "not_json"),
        (b"data: \xff\xfe\n\n", "not_json"),
        (b'event: ping\ndata: {"type": "ping"}\n\n', None),
        (b"data: 3\n\n", "not_object"),
        (b"data: null\n\n", "not_object"),
        (b'data: [{"choices": []}]\n\n', "not_object"),
        (b"data: {}\n\n", None),
        (b'data: {"choices": null, "usage": "much"}\n\n', None),
        (b'data: {"choices": [null, 3, {"delta": null}, {"index": "x", "delta": 7}]}\n\n', None),
        (b'data: {"choices": [{"index": 0, "delta": {"tool_calls": null, "content": null}}]}\n\n', None),
        (b'data: {"choices": [{"delta": {}, "logprobs": NaN}], "x": ' + b"1" * 5000 + b"}\n\n", None),
        (b'data: {"choices": [], "usage": {"prompt_tokens": null, "cost": {}}}\n\n', None),
    ],
)  # fmt: skip
async def test_an_event_that_cannot_be_read_costs_itself(
    upstream: raw.RawUpstream, model: HttpChatModel, event: bytes, unread: str | None
) -> None:
    """What is before and behind it is passed on; what is no JSON object is dropped and counted."""
    upstream.script = raw.streamed([*GOOD[:2], event, *GOOD[2:]])
    frames: list[bytes] = []

    class Client:
        def put(self, piece: bytes) -> bool:
            frames.extend(frame + b"\n\n" for frame in piece.split(b"\n\n")[:-1])
            return True

        async def flush(self) -> None:
            pass

    async with model.stream(call(stream=True)) as answer:
        await answer.pour(Client())
        assert answer.usage is not None
        assert dict(answer.unread) == ({unread: 1} if unread else {})
    words = [frame for frame in frames if b'"content": "' in frame]
    assert text_of(words) == TEXT
    assert (event in frames) is (unread is None and b'"usage"' not in event and not event.startswith(b"event"))


async def test_halves_of_a_character_pass(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """A server that cuts its text by UTF-16 units sends half surrogates: the client gets its bytes."""
    event = raw.event(raw.chunk("@"))
    halves = [event.replace(b"@", half) for half in (b"\\ud83d", b"\\ude00")]
    upstream.script = raw.streamed([*halves, *GOOD])
    frames = await read(model)
    assert frames[:2] == halves
    text = "".join(json.loads(frame[6:])["choices"][0]["delta"]["content"] for frame in frames[:2])
    assert text.encode("utf-16", "surrogatepass").decode("utf-16") == "😀"


async def test_a_half_character_beside_usage_passes(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """An event is written anew where it holds a usage that the client has not asked for."""
    event = raw.event(raw.chunk("@", "stop", usage=raw.USAGE)).replace(b"@", b"\\ud83d")
    upstream.script = raw.streamed([event])
    (frame,) = await read(model)
    body = json.loads(frame[6:])
    assert body["choices"][0]["delta"]["content"] == "\ud83d"
    assert "usage" not in body


async def test_broken_utf8_is_mended(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """As JavaScript's decoder does: a client in Python could not read the rest of the stream."""
    upstream.script = raw.streamed([raw.event(raw.chunk("@")).replace(b"@", b"a\xffb"), *GOOD])
    assert text_of(await read(model)) == "a\ufffdb" + TEXT


async def test_a_picture_of_32_mib_passes_in_time(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """In pieces of 64 KiB; the time grows with its size, not with the square of it."""
    picture = raw.event(raw.chunk("A" * (32 * MIB)))
    pieces = [picture[at : at + 65_536] for at in range(0, len(picture), 65_536)]
    upstream.script = raw.streamed([*pieces, *GOOD])
    started = time.process_time()  # of upstream and client: what other processes take does not count
    frames = await read(model, deadline_s=100)
    assert frames[0] == picture
    assert time.process_time() - started < 5


@pytest.mark.parametrize("asked", [None, False, True])
async def test_usage_is_sent_where_it_was_asked_for(
    upstream: raw.RawUpstream, model: HttpChatModel, asked: bool | None
) -> None:
    """`include_usage: false` is a no; we get it all the same."""
    upstream.script = raw.streamed(GOOD)
    asking = call(stream=True) if asked is None else call(stream=True, stream_options={"include_usage": asked})
    async with model.stream(asking) as answer:
        frames = []

        class Client:
            def put(self, piece: bytes) -> bool:
                frames.append(piece)
                return True

            async def flush(self) -> None:
                pass

        await answer.pour(Client())
        assert answer.usage is not None
    assert any(b'"usage"' in frame for frame in frames) is (asked is True)
    assert upstream.seen[0].json["stream_options"]["include_usage"] is True


STRICT = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}


def without_options(upstream: raw.RawUpstream, status: str = "422 No", body: object = STRICT) -> raw.Script:
    """Refuse whatever has `stream_options`, as strict servers do."""

    async def script(reader, writer):  # type: ignore[no-untyped-def]  # a `Script`
        refuses = "stream_options" in upstream.seen[-1].json
        await (raw.whole(body, status) if refuses else raw.streamed(GOOD))(reader, writer)

    return script


@pytest.mark.parametrize(
    ("status", "body"),
    [("422 No", STRICT), ("400 No", {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
     ("400 No", b"unknown field include_usage")],
)  # fmt: skip
async def test_an_upstream_without_stream_options_is_asked_without(
    upstream: raw.RawUpstream, model: HttpChatModel, status: str, body: object
) -> None:
    """Once it has refused what the client did not ask for, it is not sent for an hour."""
    upstream.script = without_options(upstream, status, body)
    for _ in range(2):
        assert text_of(await read(model)) == TEXT
    assert ["stream_options" in seen.json for seen in upstream.seen] == [True, False, False]


async def test_stream_options_are_tried_again_after_an_hour(
    upstream: raw.RawUpstream, model: HttpChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream may have learned them."""
    monkeypatch.setattr("shared.clients.chat_client.STREAM_OPTIONS_S", 0.0)
    upstream.script = without_options(upstream)
    for _ in range(2):
        await read(model)
    assert ["stream_options" in seen.json for seen in upstream.seen] == [True, False, True, False]


@pytest.mark.parametrize(
    ("status", "body", "options"),
    [("422 No", STRICT, {"include_usage": False}), ("400 No", {"error": {"message": "max_tokens is too big"}}, None),
     ("500 No", STRICT, None)],
)  # fmt: skip
async def test_any_other_refusal_is_reported(
    upstream: raw.RawUpstream, model: HttpChatModel, status: str, body: object, options: object
) -> None:
    """What the client has sent itself, or what speaks of something else, is the client's to hear."""
    upstream.script = raw.whole(body, status)
    with pytest.raises(UpstreamError) as caught:
        await (read(model, stream_options=options) if options else read(model))
    assert caught.value.status == int(status[:3])
    assert len(upstream.seen) == 1


async def test_a_stream_of_garbage_is_no_answer(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Where nothing at all could be read, another arm may answer."""
    upstream.script = raw.streamed([b"data: busy\n\n"] * 3)
    refused = await failure(model, streaming=True)
    assert (refused.status, refused.try_next, refused.spent) == (200, True, True)


@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/plain", "text/event-stream"])
async def test_the_content_type_of_a_stream_does_not_matter(
    upstream: raw.RawUpstream, model: HttpChatModel, kind: str
) -> None:
    """The body says what it is: OpenAI's SDKs do not look at the type either."""
    body = b" \n" + b"".join(GOOD)
    upstream.script = raw.whole(body, kind=kind)
    assert text_of(await read(model)) == TEXT
    for size in (1, 100_000):
        error = b'\n \n{\n "error": {"message": "temperature is too hot", "code": 400}}'
        parts = [error[at : at + size] for at in range(0, len(error), size)]
        upstream.script = raw.whole(error, kind=kind) if size > 1 else raw.streamed(parts)
        refused = await failure(model, streaming=True)
        assert "too hot" in str(refused.reason)


async def test_a_large_event_may_be_cut_before_a_brace(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Only the beginning of a body says that it is no stream."""
    whole = b"".join(GOOD)
    at = whole.index(b"{")
    upstream.script = raw.streamed([whole[:at], 0.05, whole[at : at + 30], 0.05, whole[at + 30 :]])
    assert text_of(await read(model)) == TEXT


async def test_control_characters_in_a_text_are_passed_on_escaped(
    upstream: raw.RawUpstream, model: HttpChatModel
) -> None:
    """Other clients read them, strict ones do not: so each event is valid JSON when it leaves, and none is dropped."""
    event = raw.event(raw.chunk("TEXT")).replace(b"TEXT", b"a\tb\x01\x0b\x1f")
    upstream.script = raw.streamed([event, *GOOD[4:]])
    async with model.stream(call(stream=True)) as answer:
        sink = FakeSink()
        await answer.pour(sink)
        assert not answer.unread
    assert text_of(sink.frames) == "a\tb\x01\x0b\x1f"


@pytest.mark.parametrize("end", ["end", "cut"])
async def test_an_error_without_a_field_name_keeps_its_reason(
    upstream: raw.RawUpstream, model: HttpChatModel, end: str
) -> None:
    """Servers that fail within a stream write it as they write it without one."""
    line = b'{"error": {"message": "CUDA out of memory", "code": 503}}\n'
    upstream.script = raw.streamed([*GOOD[:2], line], end=end)
    error = await failure(model, streaming=True)
    assert (error.reason, error.spent) == ("CUDA out of memory", True)
