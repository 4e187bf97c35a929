"""An upstream of raw bytes: it answers each request with exactly what a test says, faults included."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19, "cost": 0.00021}
WHOLE = {
    "id": "gen-1", "object": "chat.completion", "created": 1, "model": "vendor/model-a",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Grüße und 世界"}, "finish_reason": "stop"}],
    "usage": USAGE,
}  # fmt: skip
WORDS = ("Grüße", " und", " 世界")


@dataclass
class Seen:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RawUpstream:
    """What is listening, what it does next, and what it has seen."""

    url: str = ""
    script: Script = field(default=lambda _reader, _writer: asyncio.sleep(0))
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed its connection."""


@asynccontextmanager
async def raw_upstream() -> AsyncIterator[RawUpstream]:
    """Listen on a free port until the end of the block."""
    state = RawUpstream()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while True:
                state.seen.append(await _read_request(reader))
                await state.script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            state.closed.set()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
    try:
        yield state
    finally:
        server.close()


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in fields)}
    return Seen(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


# -- scripts -----------------------------------------------------------------------------------------------------


def event(body: object) -> bytes:
    """Return one SSE event."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def chunk(content: str | None = None, finish: str | None = None, **more: object) -> dict[str, object]:
    """Return one streamed chunk."""
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "vendor/model-a",
            "choices": choices} | more  # fmt: skip


def good_events() -> list[bytes]:
    """Return a whole stream as OpenRouter sends it, `[DONE]` included."""
    return [
        b": OPENROUTER PROCESSING\n\n",
        *(event(chunk(word)) for word in WORDS),
        event(chunk(None, "stop")),
        event(chunk() | {"choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]


def whole(body: object = WHOLE, status: str = "200 OK", kind: str = "application/json", **headers: str) -> Script:
    """Answer with a body; bytes go out as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(raw)}\r\n{fields}\r\n".encode()

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + raw)
        await writer.drain()

    return script


def streamed(parts: Sequence[bytes | float], *, end: str = "chunked") -> Script:
    """Send parts as a chunked SSE stream, sleeping at each number.

    `end`: "chunked" ends properly, "cut" closes inside the body, "reset" resets the connection, "hang" waits.
    """

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in parts:
            if isinstance(part, bytes):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
            else:
                await asyncio.sleep(part)
        if end == "chunked":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif end == "hang":
            await reader.readexactly(1)  # until the client leaves
        else:
            await _leave(writer, reset=end == "reset")

    return script


def until_closed(parts: Sequence[bytes]) -> Script:
    """Send an SSE stream whose end is the connection's end: a cut looks like any other end."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(b"".join(parts))
        await _leave(writer)

    return script


def silence() -> Script:
    """Take the request and say nothing."""
    return streamed_nothing


async def streamed_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Wait until the client leaves."""
    await reader.readexactly(1)


def hang_up(*, reset: bool) -> Script:
    """Take the request and close, or reset, without a byte."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _leave(writer, reset=reset)

    return script


async def _leave(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    await writer.drain()
    if reset:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    raise ConnectionResetError
