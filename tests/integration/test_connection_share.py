"""Limits on connections: in all, and of one client address."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.gateway.http.client_addresses import address_of
from services.gateway.http.hardened_protocol import connection_cap
from tests.integration.test_protocol import site


async def test_above_the_cap_connections_are_turned_away() -> None:
    """The connection that is too much gets a 503 with Retry-After, those inside go on, and room is reused."""
    async with site({"max_connections": 2}) as here:
        inside = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "server_error"
        inside[0][1].write(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"404" in await inside[0][0].readline()
        inside[1][1].close()
        await asyncio.sleep(0.05)
        async with here.session.get(here.url + "/nowhere") as response:
            assert response.status == 404
        inside[0][1].close()


def test_the_cap_leaves_file_descriptors_for_upstreams() -> None:
    """However low the process's limit, there is room for some, and never for more than half of the descriptors."""
    assert 16 <= connection_cap() <= 4096


@pytest.mark.parametrize("setting", ["3", "0"])
async def test_one_address_holds_a_share_of_the_connections(setting: str) -> None:
    """Beyond it a connection gets a 503; other addresses are served, and what is closed counts no longer."""
    share = 3 if setting == "3" else 20

    async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", here.port, local_addr=(address, 0))

    async def status(pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
        pair[1].write(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
        return (await pair[0].readline()).split()[1]

    async with site({"max_connections": 40}, MAX_CONNECTIONS_PER_ADDRESS=setting) as here:
        inside = [await opened("127.0.0.1") for _ in range(share)]
        for pair in inside:
            assert await status(pair) == b"404"
        reader, writer = await opened("127.0.0.1")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        other = await opened("127.0.0.2")
        assert await status(other) == b"404"
        inside.pop()[1].close()
        await asyncio.sleep(0.05)
        again = await opened("127.0.0.1")
        assert await status(again) == b"404"
        writer.close()
        for pair in (*inside, other, again):
            pair[1].close()


class _Peer(asyncio.BaseTransport):
    def __init__(self, *peer: object) -> None:
        super().__init__({"peername": peer or None})


def test_an_ipv6_client_is_its_network() -> None:
    """It has 2^64 addresses; IPv4 in IPv6 is IPv4, and a socket without an address is one."""
    assert address_of(_Peer("192.0.2.1", 5)) == address_of(_Peer("::ffff:192.0.2.1", 6, 0, 0)) == "192.0.2.1"
    assert address_of(_Peer("2001:db8::1", 5, 0, 0)) == address_of(_Peer("2001:db8:0:0:ffff::1", 6, 0, 0))
    assert address_of(_Peer("2001:db8::1", 5, 0, 0)) != address_of(_Peer("2001:db8:0:1::1", 5, 0, 0))
    assert address_of(_Peer("fe80::1%eth0", 5, 0, 2)) == "fe80::/64"
    assert address_of(_Peer()) == ""
