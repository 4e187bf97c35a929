"""The bound on bytes of bodies: checked before they are read, and memory is given back. Real processes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.gateway_process import BODY, Gateway
from tests.support.raw_upstream import WHOLE

MIB = 1_048_576
BIG = 8_000_000


@asynccontextmanager
async def slow_upstream(seconds: float) -> AsyncIterator[str]:
    """An upstream that reads each body, keeps nothing of it, and takes its time."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                while left:
                    left -= len(await reader.read(min(left, 262_144)))
                answer: object = WHOLE
                if b"/models" in head:
                    answer = {"data": [{"id": "a/model"}]}
                else:
                    await asyncio.sleep(seconds)
                body = json.dumps(answer).encode()
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def gateway_on(folder: Path, upstream_s: float, **settings: str) -> AsyncIterator[Gateway]:
    """A gateway on a slow upstream."""
    async with slow_upstream(upstream_s) as url:
        gateway = Gateway(folder, url, LLM_MODELS="a/model", DEFAULT_MODEL="a/model", **settings)
        try:
            await gateway.start()
            yield gateway
        finally:
            await asyncio.to_thread(gateway.server.kill)


def big_body(size: int = BIG) -> bytes:
    """A picture: text of this length would be refused."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (size - 200)}}
    return json.dumps(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}]}
    ).encode()


async def post(port: int, body: bytes, *, declared: int | None = None, chunked: bool = False) -> tuple[str, str, str]:
    """Send a body, whatever is answered meanwhile; return status, code and Retry-After."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await _post(reader, writer, body, declared or len(body), chunked=chunked)
    finally:
        writer.close()


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, declared: int, *, chunked: bool
) -> tuple[str, str, str]:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % declared
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(framing + b"\r\nX-Request-ID: id-%d\r\n\r\n" % writer.get_extra_info("sockname")[1])

    async def send() -> None:
        for at in range(0, len(body), 262_144):
            piece = memoryview(body)[at : at + 262_144]
            writer.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"] if chunked else [piece])
            await writer.drain()
        writer.write(b"0\r\n\r\n" if chunked else b"")

    sending = asyncio.create_task(send())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
    answer: dict[str, Any] = json.loads(await reader.readexactly(length))
    await asyncio.wait([sending])
    fields = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in head.split("\r\n"))}
    return head.split()[1], str(answer.get("error", {}).get("code", "")), fields.get("retry-after", "")


async def held(gateway: Gateway, least: int, most: int = 1 << 40) -> None:
    """Wait until so much is held."""
    async with asyncio.timeout(10):
        while not least <= await in_work(gateway) <= most:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


async def in_work(gateway: Gateway) -> float:
    """Return the gauge."""
    async with aiohttp.ClientSession(gateway.url) as client, client.get("/metrics") as response:
        text = await response.text()
    return float(text.partition("\nllm_router_bytes_in_work ")[2].partition("\n")[0])


def resident_mb(gateway: Gateway) -> float:
    """Return the resident memory of the process."""
    process = gateway.server.process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("!!! memory can be read on Linux only: it was NOT checked")
    return int(status.read_text().partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.parametrize("chunked", [False, True])
async def test_beyond_the_bound_bodies_get_503_and_are_not_read(*, chunked: bool, tmp_path: Path) -> None:
    """Two fit, the third is refused with Retry-After and hears it although it sends on; small ones are served."""
    async with gateway_on(tmp_path, 1.5, MAX_BYTES_IN_WORK=str(20 * MIB)) as gateway:
        two = [asyncio.create_task(post(gateway.port, big_body())) for _ in range(2)]
        await held(gateway, 2 * BIG - 1000)
        assert await post(gateway.port, big_body(), chunked=chunked) == ("503", "overloaded", "1")
        assert await in_work(gateway) < 17 * MIB, "what was refused is not held"
        assert (await post(gateway.port, json.dumps(BODY).encode()))[0] == "200"
        assert [answer[0] for answer in await asyncio.gather(*two)] == ["200", "200"]
        assert await in_work(gateway) == 0
        assert (await post(gateway.port, big_body()))[0] == "200"


async def test_the_declared_length_counts_before_a_byte_is_here(tmp_path: Path) -> None:
    """A client that has declared much and sends nothing holds it; when it leaves, it is given back."""
    async with gateway_on(tmp_path, 0.0, MAX_BYTES_IN_WORK=str(10 * MIB)) as gateway:
        holding = asyncio.create_task(post(gateway.port, b"{", declared=BIG))
        await held(gateway, BIG)
        refused = asyncio.create_task(post(gateway.port, b"{", declared=BIG))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % BIG)
        assert (await asyncio.wait_for(reader.readline(), 2)).split()[1] == b"503", "nothing of the body was sent"
        writer.close()
        assert (await asyncio.wait_for(refused, 5))[0] == "503"
        holding.cancel()
        with suppress(asyncio.CancelledError):
            await holding
        await held(gateway, 0, 0)


async def test_a_small_bound_holds_for_small_bodies(tmp_path: Path) -> None:
    """The fast path's bodies count, too."""
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 1500}]}).encode()
    async with gateway_on(tmp_path, 0.6, MAX_BYTES_IN_WORK="4000") as gateway:
        answers = Counter(await asyncio.gather(*(post(gateway.port, body) for _ in range(5))))
        assert answers == {("200", "", ""): 2, ("503", "overloaded", "1"): 3}
        assert await in_work(gateway) == 0


@pytest.mark.parametrize("emoji", [False, True])
async def test_120_bodies_of_8_mb_stay_below_420_mb_that_are_given_back(*, emoji: bool, tmp_path: Path) -> None:
    """By default: sixteen are in work, the others are refused; one emoji in a picture's address makes it three."""
    body = big_body().replace(b"base64,", "base64,😀".encode()) if emoji else big_body()
    async with gateway_on(tmp_path, 3.0, BODY_TIMEOUT_S="60", FIRST_BYTE_TIMEOUT_S="100") as gateway:
        before, peak = resident_mb(gateway), [0.0]

        async def watch() -> None:
            while True:
                peak.append(resident_mb(gateway))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(post(gateway.port, body) for _ in range(120)), return_exceptions=True)
        watching.cancel()
        statuses = Counter(answer[0] if isinstance(answer, tuple) else type(answer).__name__ for answer in answers)
        assert statuses["200"] >= (3 if emoji else 16)
        assert set(statuses) == {"200", "503"}
        assert max(peak) < 420
        await asyncio.sleep(1.0)
        assert resident_mb(gateway) < before + 60
