"""Whole answers and lists of models: which facts are read from them, and what is sent."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from shared import tracing
from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import UpstreamError
from tests.integration.chat_client.calls import KEY, call, failure
from tests.support import raw_upstream as raw
from tests.support.fakes.sink import FakeSink


@pytest.mark.parametrize("usage", ["many", [1], {}, {"prompt_tokens": -1, "completion_tokens": True, "cost": -1}])
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


async def test_without_a_key_the_control_headers_go_out(upstream: raw.RawUpstream) -> None:
    """A simulated upstream is told how to behave; no Authorization is invented."""
    upstream.script = raw.whole()
    async with connections(upstream.url + "/") as http:
        await HttpChatModel(http, None, first_byte_timeout_s=1, gap_timeout_s=1).complete(call())
    assert upstream.seen[0].headers["x-simulate"] == "html"
    assert "authorization" not in upstream.seen[0].headers


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


@pytest.mark.parametrize(
    "parts",
    [[0.7, b"{}"], [b" ", 0.7, b"{}"], [b" ", 0.2, b"\n", 0.2, b" ", 0.4, b"{}"], [b'{"error": null, ', 0.7, b"{}"]],
    ids=["head first", "a blank first", "blanks", "half of it first"],
)
async def test_a_whole_answer_may_take_as_long_as_the_request(
    upstream: raw.RawUpstream, model: HttpChatModel, parts: list[bytes | float]
) -> None:
    """A model may think longer than a first byte (0.5 s) and a gap (0.3 s) may take, at any point of the answer."""
    body = json.dumps(raw.WHOLE, ensure_ascii=False).encode()
    begun = any(isinstance(part, bytes) and b"{" in part for part in parts[:-1])
    upstream.script = raw.streamed([*parts[:-1], body[1:] if begun else body])
    assert json.loads((await model.complete(call())).body)["choices"] == raw.WHOLE["choices"]


async def test_a_whole_answer_may_be_silent_before_its_head(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """The first byte's deadline (0.5 s) is for streams."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.8)
        await raw.whole()(reader, writer)

    upstream.script = late
    assert json.loads((await model.complete(call())).body) == raw.WHOLE


async def test_a_whole_answer_ends_with_the_requests_deadline(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Half an answer and then nothing is a timeout."""
    upstream.script = raw.streamed([b'{"id": "x", '], end="hang")
    assert (await failure(model, streaming=False, deadline_s=0.5)).timed_out


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "\\ud83d"}}]}',
        b'{"choices": [{"message": {"content": "x", "logprob": NaN, "n": 1e999, "big": ' + b"9" * 30 + b"}}]}",
        b'{"choices": [null, {"message": null}, {"message": {"content": null, "tool_calls": null}}], "usage": "much"}',
        b'{"choices": [{"index": "0", "message": {"content": 3}, "finish_reason": 7}], "usage": {"cost": []}}',
        b'{"choices": [], "choices": [{"message": {}}]}',
    ],
    ids=["half surrogate", "figures", "nulls", "wrong types", "twice"],
)
async def test_a_field_that_cannot_be_read_costs_itself(
    upstream: raw.RawUpstream, model: HttpChatModel, body: bytes
) -> None:
    """The client gets the upstream's bytes."""
    upstream.script = raw.whole(body)
    answer = await model.complete(call())
    assert (answer.body, answer.usage) == (body, None)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_catalogue_may_be_packed_and_a_bare_array(
    upstream: raw.RawUpstream, model: HttpChatModel, packed: bool
) -> None:
    """The list is read as answers are."""
    body = b'[{"id": "v/a"}]'
    upstream.script = raw.whole(gzip.compress(body), content_encoding="gzip") if packed else raw.whole(body)
    assert [arm.id for arm in await model.catalogue()] == ["v/a"]


async def test_the_upstream_gets_the_trace(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Within a request's trace the call carries it on; outside there is none."""
    upstream.script = raw.whole()
    trace = tracing.begin(tracing.IdTracer(), [], [], "0190b0c2-1111-7222-8333-444455556666")
    await model.complete(call())
    tracing.end(trace, {})
    await model.complete(call())
    assert upstream.seen[0].headers["traceparent"].split("-")[1] == trace.trace_id
    assert "traceparent" not in upstream.seen[1].headers


async def test_the_ids_of_tool_calls_are_gathered(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Of a whole answer and of a stream, where a call's id comes once and its arguments in pieces."""
    calls = [{"index": n, "id": f"call_{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    upstream.script = raw.whole({**raw.WHOLE, "choices": [choice]})
    assert (await model.complete(call())).calls == ("call_0", "call_1")
    upstream.script = raw.whole()
    assert (await model.complete(call())).calls == ()
    deltas: list[dict[str, object]] = [
        {"role": "assistant", "tool_calls": calls[:1]},
        {"tool_calls": [{"index": 0, "id": "call_0", "function": {"arguments": "{}"}}]},
        {"tool_calls": calls[1:]},
    ]
    events = [raw.event(raw.chunk() | {"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    upstream.script = raw.streamed([*events, raw.event(raw.chunk(None, "tool_calls")), b"data: [DONE]\n\n"])
    async with model.stream(call(stream=True)) as answer:
        await answer.pour(FakeSink())
        assert answer.calls == ("call_0", "call_1")
