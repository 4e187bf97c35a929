"""Count of connections per client address."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter

_IPV6_NETWORK = 64
"""Prefix length of the IPv6 network that one client has."""


class Addresses:
    """Count of connections per address. Addresses without connections take no memory."""

    def __init__(self) -> None:
        self._address_of: dict[object, str] = {}
        self._held: Counter[str] = Counter()

    def held_by(self, transport: asyncio.BaseTransport) -> int:
        """Return the number of connections from the address of this one."""
        return self._held[address_of(transport)]

    def add(self, connection: object, transport: asyncio.BaseTransport) -> None:
        """Count a connection."""
        address = self._address_of[connection] = address_of(transport)
        self._held[address] += 1

    def remove(self, connection: object) -> None:
        """Remove a connection; one that was never added changes nothing."""
        address = self._address_of.pop(connection, None)
        if address is not None:
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]


def address_of(transport: asyncio.BaseTransport) -> str:
    """Return the client's address; for IPv6 the network that one client has."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))
