"""A chat request by the fast path and by aiohttp's server: the responses are the same."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import orjson
import pytest

from services.gateway.http.fast_chat import FastChat
from services.gateway.http.request_lifecycle import RequestLifecycle, Target
from services.gateway.request_context import RequestContext
from shared.errors import UpstreamError
from tests.support.batching import until
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import serving

BODY = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
STREAM = {**BODY, "model": "a/small", "stream": True}
KEY = "a-key-of-a-client-0123456789"
OURS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
V1 = "/v1/chat/completions"

Heard = tuple[int, dict[str, str], bytes]


async def ask(port: int, path: str, headers: dict[str, str], body: bytes) -> Heard:
    """Ask on a new connection; `Connection: close` is not plain, so it is aiohttp's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rows = [f"POST {path} HTTP/1.1", "Host: here", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*rows, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (row.partition(": ") for row in head[1:-2])}
    answer = await chunks(reader) if "transfer-encoding" in fields else b""
    answer += await reader.readexactly(int(fields.get("content-length", 0)))
    writer.close()
    return int(head[0].split()[1]), fields, answer


async def chunks(reader: asyncio.StreamReader) -> bytes:
    """Return the body of an answer in pieces, to its end."""
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readline() == b"\r\n"
    assert await reader.readline() == b"\r\n"
    return body


WISHES = {"provider": {"foo": 1, "sort": "price"}}
CASES: dict[str, tuple[str, dict[str, str], bytes]] = {
    "answered": (V1, OURS, orjson.dumps(BODY)),
    "pinned": (V1, OURS, orjson.dumps({**BODY, "model": "a/small", "stream": False})),
    "streamed": (V1, OURS, orjson.dumps(STREAM)),
    "streamed with its usage": (V1, OURS, orjson.dumps({**STREAM, "stream_options": {"include_usage": True}})),
    "streamed to a browser": (V1, {**OURS, "Origin": "https://site.example"}, orjson.dumps(STREAM)),
    "streamed by the best model": (V1, OURS, orjson.dumps({**BODY, "stream": True})),
    "a stream of an unknown model": (V1, OURS, orjson.dumps({**STREAM, "model": "no/such"})),
    "a stream that cannot begin": (V1, OURS, orjson.dumps({**STREAM, "model": "c/large"})),
    "from a browser": (V1, {**OURS, "Origin": "https://site.example"}, orjson.dumps(BODY)),
    "no key": (V1, {"Content-Type": "application/json"}, orjson.dumps(BODY)),
    "another key": (V1, {**OURS, "Authorization": "Bearer nobody's"}, orjson.dumps(BODY)),
    "no id": ("/chat/completions", OURS, orjson.dumps(BODY)),
    "an id that does not fit": ("/chat/completions", {**OURS, "X-Request-ID": "a b"}, orjson.dumps(BODY)),
    "unknown model": (V1, OURS, orjson.dumps({**BODY, "model": "no/such"})),
    "not JSON": (V1, OURS, b"{"),
    "nothing": (V1, OURS, b""),
    "out of range": (V1, OURS, orjson.dumps({**BODY, "n": 1000})),
    "a wish dropped": (V1, OURS, orjson.dumps({**BODY, **WISHES})),
    "a wish dropped of a stream": (V1, OURS, orjson.dumps({**STREAM, **WISHES})),
    "a wish dropped of an error": (V1, OURS, orjson.dumps({**BODY, **WISHES, "model": "no/such"})),
    "a wish that cannot be meant": (V1, {**OURS, "X-Router-Explore": "perhaps"}, orjson.dumps(BODY)),
}


@pytest.mark.parametrize("case", CASES)
async def test_both_ways_answer_alike(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same status, headers and error; what differs from request to request differs."""
    taken = 0
    serve = FastChat.serve

    async def counted(self: FastChat, *arguments: object) -> object:
        nonlocal taken
        taken += 1
        return await serve(self, *arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(FastChat, "serve", counted)
    world = World(settings_for(tmp_path, API_KEYS=KEY, CORS_ORIGINS="https://site.example", RATE_LIMIT_RPM="600"))
    if case == "a stream that cannot begin":
        world.upstream.tell("c/large", *[Reply(error=UpstreamError("no", status=500, cool_s=0.0))] * 4)
    path, headers, body = CASES[case]
    async with serving(world):
        port = int(world.settings.PORT)
        quick = await ask(port, path, headers, body)
        assert taken == 1
        usual = await ask(port, path, {**headers, "Connection": "close"}, body)
        assert taken == 1
    assert quick[0] == usual[0]
    assert quick[1].get("x-router-ignored") == ("provider.foo" if "wish dropped" in case else None)
    assert usual[1].pop("connection") == "close"
    assert quick[1].keys() == usual[1].keys()
    same = quick[1].keys() - {"x-request-id", "date", "x-router-overhead-ms", "x-router-model", "x-router-propensity"}
    same -= {name for name in same if name.startswith("x-ratelimit-")} | {"content-length"}
    assert {name: quick[1][name] for name in same} == {name: usual[1][name] for name in same}
    if quick[0] != 200 or case.startswith("streamed "):
        assert without_model(quick[2]) == without_model(usual[2])


def without_model(body: bytes) -> bytes:
    """The arm that answers is drawn."""
    return re.sub(rb'"model":"[^"]+"', b"", body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream": true, "messages": [{"role": "user", "content": "x"}]}',
        b'{"stream"\n:\ttrue, "messages": [{"role": "user", "content": "x"}]}',
        b'{"\\u0073tream": true, "messages": [{"role": "user", "content": "x"}]}',
        b'{"strea\\u006D": true, "messages": [{"role": "user", "content": "x"}]}',
    ],
)
async def test_a_stream_is_a_stream_however_its_name_is_written(body: bytes, tmp_path: Path) -> None:
    """It is known only after the body has been read."""
    world = World(settings_for(tmp_path))
    async with serving(world):
        status, headers, _ = await ask(int(world.settings.PORT), V1, {"Content-Type": "application/json"}, body)
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_what_mentions_a_stream_is_answered_whole(tmp_path: Path) -> None:
    """In a text, as a value, or as false."""
    world = World(settings_for(tmp_path))
    async with serving(world):
        for content in ('"stream": true', '{"stream":true}', "stream"):
            message = {"role": "user", "content": content}
            body = orjson.dumps({"stream": False, "messages": [message], "user": "stream"})
            status, headers, _ = await ask(int(world.settings.PORT), V1, {"Content-Type": "application/json"}, body)
            assert (status, headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"], ids=["fast path", "aiohttp"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_leaves_is_logged_alike(
    fields: str, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 499 and the reason, on both ways."""
    lines: list[dict[str, object]] = []
    end = RequestLifecycle._end

    def noted(self: RequestLifecycle, context: RequestContext, target: Target, status: int) -> None:
        end(self, context, target, status)
        lines.append(dict(context.log_fields))

    monkeypatch.setattr(RequestLifecycle, "_end", noted)
    world = World(settings_for(tmp_path))
    world.upstream.tell("a/small", Reply(delay_s=30.0))
    body = orjson.dumps({**BODY, "model": "a/small", "stream": stream})
    async with serving(world):
        _, writer = await asyncio.open_connection("127.0.0.1", int(world.settings.PORT))
        head = f"POST {V1} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{fields}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await asyncio.sleep(0.2)
        writer.transport.abort()
        await until(lambda: any(line["route"] == V1 for line in lines))
    (line,) = [line for line in lines if line["route"] == V1]
    assert (line["status"], line["error"]) == (499, "client_gone")
