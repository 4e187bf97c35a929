"""How many connections each client address holds."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter

_IPV6_NETWORK = 64
"""A single client has as many IPv6 addresses as fit into this prefix."""


class Addresses:
    """Counts connections by address; knows nothing of addresses without any."""

    def __init__(self) -> None:
        self._address_of: dict[object, str] = {}
        self._held: Counter[str] = Counter()

    def held_by(self, transport: asyncio.BaseTransport) -> int:
        """Return how many connections there are from where this one comes."""
        return self._held[address_of(transport)]

    def add(self, connection: object, transport: asyncio.BaseTransport) -> None:
        """Count a connection."""
        address = self._address_of[connection] = address_of(transport)
        self._held[address] += 1

    def remove(self, connection: object) -> None:
        """Count it no longer; what was never added changes nothing."""
        address = self._address_of.pop(connection, None)
        if address is not None:
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]


def address_of(transport: asyncio.BaseTransport) -> str:
    """Return the address of the other side; of IPv6 the network that a client has to itself."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))
