"""The fast path: requests that it answers itself, in pieces of any size, and the end of a connection."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.fast_path import protocol
from tests.integration.fast_path.rig import LARGE, plain, running
from tests.support.batching import until


async def test_a_plain_request_is_answered_and_the_connection_kept() -> None:
    """As often as it is asked, a length and a date added."""
    async with running() as rig, rig.client() as client:
        for body in (b"one", b"", b"x" * 90_000, b"POST /echo HTTP/1.1\r\n\r\n"):
            reply = await client.ask(plain(body, b"Connection: keep-alive"))
            assert (reply.status, reply.by, reply.body) == (200, "fast path", body)
            assert reply.headers["date"].endswith("GMT")
            assert "connection" not in reply.headers


async def test_it_may_come_in_pieces() -> None:
    """Cut anywhere in head and body."""
    message = plain(b"in two pieces")
    async with running() as rig, rig.client() as client:
        for cut in range(1, len(message), 3):
            await client.send(message[:cut])
            await asyncio.sleep(0.002)
            reply = await client.ask(message[cut:])
            assert (reply.by, reply.body) == ("fast path", b"in two pieces")


async def test_requests_behind_one_another_are_answered_in_order_one_at_a_time() -> None:
    """However many come at once, and where the last is cut; while they wait, little of them is taken in."""
    bodies = [b"wait", *(b"%d" % n for n in range(50)), b"y" * 90_000, b"z" * 90_000]
    messages = b"".join(map(plain, bodies))
    async with running() as rig, rig.client() as client:
        sending = asyncio.create_task(client.send(messages[:-5]))
        await until(lambda: rig.begun == [b"wait"])
        await asyncio.sleep(0.05)
        assert rig.begun == [b"wait"]
        rig.gate.set()
        replies = [await client.reply() for _ in bodies[:-1]]
        await sending
        replies.append(await client.ask(messages[-5:]))
    assert [reply.body for reply in replies] == bodies
    assert {reply.by for reply in replies} == {"fast path"}


async def test_a_client_that_sends_ahead_is_made_to_wait() -> None:
    """While a request is in work, what is sent behind it does not fill the memory."""
    async with running() as rig, rig.client() as client:
        sending = asyncio.create_task(client.send(plain(b"wait") + plain(b"y" * 90_000) * 400))
        await until(lambda: rig.begun == [b"wait"])
        await asyncio.sleep(0.5)
        assert not sending.done()
        client.writer.transport.abort()  # it would wait until all is sent
        await asyncio.wait([sending], timeout=5)


async def test_an_error_is_answered_by_the_function_for_it() -> None:
    """And the connection serves on; a header cannot carry a second one."""
    async with running() as rig, rig.client() as client:
        reply = await client.ask(plain(b"fail"))
        assert (reply.status, reply.body) == (500, b"RuntimeError")
        reply = await client.ask(plain(b"split the answer"))
        assert (reply.status, reply.body) == (500, b"ValueError")
        assert (await client.ask(plain(b"next"))).body == b"next"


async def test_a_client_that_leaves_cancels_its_handler() -> None:
    """At once, and its connection is forgotten."""
    async with running() as rig:
        async with rig.client() as client:
            await client.send(plain(b"wait"))
            await until(lambda: rig.begun == [b"wait"])
        await until(lambda: rig.cancelled == [b"wait"])
        assert rig.runner.server is not None
        await until(lambda: not rig.runner.server.connections)  # type: ignore[union-attr]  # as asserted


async def test_a_client_that_closes_its_sending_side_still_gets_an_answer_that_is_soon_ready() -> None:
    """Whole and in pieces; then the connection is closed, without a second request being read."""
    async with running() as rig:
        for body, answer in ((b"wait", b"wait"), (b"pieces, gate", b"one two three")):
            rig.gate.clear()
            async with rig.client() as client:
                await client.send(plain(body))
                await until(lambda: body in rig.begun)  # noqa: B023 - it is called before the next round
                client.writer.write_eof()
                await asyncio.sleep(protocol.HALF_CLOSE_S / 4)
                rig.gate.set()
                assert (await client.reply()).body == answer
                assert await client.closed()
        assert not rig.cancelled


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    """Idle is counted from the last answer."""
    async with running(keep_s=0.3) as rig, rig.client() as client:
        await client.ask(plain(b"first"))
        await asyncio.sleep(0.2)
        await client.ask(plain(b"second"))
        assert not await client.closed(0.2)
    async with running(keep_s=0.1) as rig, rig.client() as client:
        await client.send(plain(b"wait"))
        await asyncio.sleep(0.3)
        rig.gate.set()
        assert (await client.reply()).body == b"wait"
        started = time.monotonic()
        assert await client.closed()
        assert 0.05 < time.monotonic() - started < 2


async def test_who_does_not_read_gets_no_second_answer_and_is_cut_off() -> None:
    """One answer is kept for it, no more; a slow reader has everything."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"large") + plain(b"behind"))
        await until(lambda: bool(rig.begun))
        await asyncio.sleep(0.1)
        assert rig.begun == [b"large"]
        assert len((await client.reply()).body) == LARGE
        assert (await client.reply()).body == b"behind"
    async with running(keep_s=0.2) as rig, rig.client() as client:
        await client.send(plain(b"large"))
        server = rig.runner.server
        assert server is not None
        await until(lambda: bool(rig.begun))
        await until(lambda: not server.connections)


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_draining_closes_what_is_idle_and_finishes_what_is_begun() -> None:
    """What is begun is told that it is the last; what waits behind it is not begun."""
    async with running() as rig, rig.client() as idle, rig.client() as busy, rig.client() as fresh:
        await idle.ask(plain(b"before"))
        await busy.send(plain(b"wait") + plain(b"behind"))
        await until(lambda: b"wait" in rig.begun)
        stopping = asyncio.create_task(rig.runner.cleanup())
        assert await idle.closed()
        assert await fresh.closed()
        assert not stopping.done()
        rig.gate.set()
        reply = await busy.reply()
        assert (reply.body, reply.headers["connection"]) == (b"wait", "close")
        assert await busy.closed()
        await stopping
    assert rig.begun == [b"before", b"wait"]


async def test_what_does_not_end_in_time_is_cancelled() -> None:
    """The drain takes as long as it may, no longer."""
    async with running(drain_s=0.2) as rig, rig.client() as busy:
        await busy.send(plain(b"wait"))
        await until(lambda: b"wait" in rig.begun)
        started = time.monotonic()
        await rig.runner.cleanup()
        assert 0.1 < time.monotonic() - started < 2
        assert rig.cancelled == [b"wait"]
        assert await busy.closed()


async def test_a_drain_does_not_wait_for_half_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was never begun."""
    monkeypatch.setattr(protocol, "ARRIVAL_S", 30.0)
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"half")[:-2])
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await rig.runner.cleanup()
        assert time.monotonic() - started < 2
        assert await client.closed()
