"""Instant upstream: one canned response, or a canned stream.

It costs next to nothing, so what is measured is what stands before it.
`"chunks": N` in a streamed question asks for N chunks, a millisecond apart, as a fast model sends them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import cast

import uvloop

MODELS = ("instant-a", "instant-b", "instant-c", "instant-d", "instant-e")
GAP_S = 0.001

_TEXT = "The quick brown fox jumps over the lazy dog. " * 4
_ANSWER = (
    '{"id":"chatcmpl-instant","object":"chat.completion","created":1700000000,"model":"instant-a","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + _TEXT + '"},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":20,"completion_tokens":40,"total_tokens":60,"cost":0.00012}}'
).encode()
_LIST = (
    '{"object":"list","data":['
    + ",".join(
        f'{{"id":"{model}","object":"model","pricing":{{"prompt":"0.00000{n}","completion":"0.0000{n}"}}}}'
        for n, model in enumerate(MODELS, start=1)
    )
    + "]}"
).encode()
_EVENT = 'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"instant-a","choices":[{}]{}}}\n\n'
_CHUNK = _EVENT.format('{"index":0,"delta":{"content":"quick "},"finish_reason":null}', "").encode()
_END = (
    _EVENT.format('{"index":0,"delta":{},"finish_reason":"stop"}', "")
    + _EVENT.format("", ',"usage":{"prompt_tokens":20,"completion_tokens":40,"total_tokens":60,"cost":0.00012}')
    + "data: [DONE]\n\n"
).encode()
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKS = re.compile(rb'"chunks": ?(\d+)')
_STREAMED = re.compile(rb'"stream": ?true')


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_WHOLE_ANSWER, _WHOLE_LIST = _whole(_ANSWER), _whole(_LIST)
_LAST = _framed(_END) + b"0\r\n\r\n"


class Instant(asyncio.Protocol):
    """One connection, kept alive forever."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not asyncio's classes

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Stop a running stream."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request received."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            question, self._buffer = self._buffer[:size], self._buffer[size:]
            self._answer(question)

    def _answer(self, question: bytes) -> None:
        if self._transport is None:
            return
        if question.startswith(b"GET"):
            self._transport.write(_WHOLE_LIST)
        elif _STREAMED.search(question):
            chunks = _CHUNKS.search(question)
            self._transport.write(_STREAM_HEAD)
            self._send(int(chunks[1]) if chunks else 1)
        else:
            self._transport.write(_WHOLE_ANSWER)

    def _send(self, left: int) -> None:
        if self._transport is None:
            return
        if left > 0:
            self._transport.write(_framed(_CHUNK))
            asyncio.get_running_loop().call_later(GAP_S, self._send, left - 1)
        else:
            self._transport.write(_LAST)


async def serve(port: int) -> None:
    """Serve on the loopback interface until killed."""
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
