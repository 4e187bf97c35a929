"""Ports of servers that are started later than their port is chosen."""

from __future__ import annotations

import contextlib
import socket

from deploy.local.servers import FIRST_PORT, PORTS, free_port


def test_no_port_is_handed_out_twice_nor_one_that_is_taken() -> None:
    """Ports that are chosen before their servers start differ, and each can be bound."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)
    assert all(FIRST_PORT <= port < FIRST_PORT + PORTS for port in ports)
    following = FIRST_PORT + (ports[-1] + 1 - FIRST_PORT) % PORTS
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # taken by somebody else, then
            taken.bind(("127.0.0.1", following))
        assert free_port() != following
