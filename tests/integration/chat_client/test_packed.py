"""Compressed answers, although none was requested: decompressed within bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from shared.clients import chat_client
from shared.clients.chat_client import HttpChatModel
from tests.integration.chat_client.calls import CUT, MIB, both, call, error, failure, read
from tests.support import raw_upstream as raw
from tests.support.fakes.chat_model import text_of

Pack = Callable[[bytes], bytes]


def raw_deflate(body: bytes) -> bytes:
    """Return deflate without zlib's header, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def members(body: bytes) -> bytes:
    """Return gzip of two members."""
    half = len(body) // 2
    return gzip.compress(body[:half]) + gzip.compress(body[half:])


PACKS: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "members": ("gzip", members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}
every = pytest.mark.parametrize("packing", PACKS)


def packed_stream(packed: bytes, encoding: str, size: int = 7, end: bytes = b"0\r\n\r\n") -> raw.Script:
    """Send a packed stream in pieces of a size."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n")
        writer.write(f"content-encoding: {encoding}\r\n\r\n".encode())
        for at in range(0, len(packed), size):
            piece = packed[at : at + size]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(end)
        if not end:
            writer.close()

    return script


@every
async def test_a_packed_answer_is_unpacked(upstream: raw.RawUpstream, model: HttpChatModel, packing: str) -> None:
    """The client gets it as it was before it was packed."""
    encoding, pack = PACKS[packing]
    body = json.dumps(raw.WHOLE).encode()
    upstream.script = raw.whole(pack(body), content_encoding=encoding)
    for _ in range(2):
        assert (await model.complete(call())).body == body
    assert upstream.connections == 1


@every
@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_packed_stream_is_unpacked(
    upstream: raw.RawUpstream, model: HttpChatModel, packing: str, size: int
) -> None:
    """However it is split."""
    encoding, pack = PACKS[packing]
    upstream.script = packed_stream(pack(b"".join(raw.good_events())), encoding, size)
    assert text_of(await read(model)) == "".join(raw.WORDS)


async def test_events_of_a_packed_stream_come_as_they_are_made(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """Each one that the upstream has flushed."""
    packer = zlib.compressobj(wbits=31)
    parts: list[bytes | float] = []
    for event in raw.good_events():
        parts += [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH), 0.2]
    script = raw.streamed([*parts, packer.flush()])

    async def packed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write = writer.write
        head = b"transfer-encoding: chunked\r\n"
        writer.write = lambda data: write(bytes(data).replace(head, head + b"content-encoding: gzip\r\n", 1))  # type: ignore[method-assign]  # the head is the script's
        await script(reader, writer)

    upstream.script = packed
    assert text_of(await read(model)) == "".join(raw.WORDS)  # longer than a gap (0.3 s) in all


async def test_a_packed_stream_without_its_end_is_cut(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """An empty finish_reason counts only where nothing is missing."""
    whole = gzip.compress(raw.event(raw.chunk("one", "")))
    upstream.script = packed_stream(whole, "gzip")
    assert text_of(await read(model)) == "one"
    upstream.script = packed_stream(whole[:-8], "gzip")
    assert (await failure(model, streaming=True)).spent


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip"])
@both
async def test_what_we_cannot_unpack_is_named(
    upstream: raw.RawUpstream, model: HttpChatModel, encoding: str, streaming: bool
) -> None:
    """Another arm may answer."""
    upstream.script = raw.whole(b"\x0b\x02\x80", content_encoding=encoding)
    refused = await failure(model, streaming=streaming)
    assert "content-encoding" in str(refused)
    assert (refused.status, refused.try_next, refused.spent) == (200, True, True)


@both
async def test_damage_is_a_failure(upstream: raw.RawUpstream, model: HttpChatModel, streaming: bool) -> None:
    """What is not gzip is no answer."""
    upstream.script = (
        packed_stream(b"\x1f\x8b" + b"x" * 1000, "gzip")
        if streaming
        else raw.whole(b"\x1f\x8b" + b"x" * 1000, content_encoding="gzip")
    )
    assert (await failure(model, streaming=streaming)).spent


@both
@pytest.mark.parametrize("filling", [b" ", b": comment\n\n", CUT], ids=["blanks", "comments", "events"])
async def test_a_bomb_is_bounded(
    upstream: raw.RawUpstream, model: HttpChatModel, monkeypatch: pytest.MonkeyPatch, filling: bytes, streaming: bool
) -> None:
    """100 MiB in 100 kB are given up at the bound of an answer."""
    monkeypatch.setattr(chat_client, "MAX_ANSWER_BYTES", MIB)
    monkeypatch.setattr("shared.clients.answer_stream.MAX_STREAM_BYTES", MIB)
    bomb = gzip.compress(filling * (100 * MIB // len(filling)), compresslevel=1)
    upstream.script = packed_stream(bomb, "gzip", 65_536) if streaming else raw.whole(bomb, content_encoding="gzip")
    assert "too large" in str(await failure(model, streaming=streaming))


async def test_a_packed_refusal_is_read(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """The client is told the reason; a bomb instead of one costs nothing but the reason."""
    for body, told in ((error("temperature is too hot"), b"too hot"), (" " * 10 * MIB, b"refused")):
        packed = gzip.compress(json.dumps(body).encode())
        upstream.script = raw.whole(packed, "400 Bad Request", content_encoding="gzip")
        relay = (await failure(model, streaming=False)).relay
        assert relay is not None
        assert told in relay
