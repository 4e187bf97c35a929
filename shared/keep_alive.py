"""TCP keep-alive options."""

from __future__ import annotations

import socket

_WANTED = {
    "TCP_KEEPIDLE": 10,  # seconds of silence before the first probe
    "TCP_KEEPINTVL": 3,  # seconds between probes
    "TCP_KEEPCNT": 3,  # unanswered probes until the connection is closed
    "TCP_USER_TIMEOUT": 15_000,  # milliseconds until unacknowledged data closes it
}

OPTIONS: dict[int, int] = {getattr(socket, name): value for name, value in _WANTED.items() if hasattr(socket, name)}
"""TCP options and their values, those that this system has (macOS has not all of them)."""


def keep_alive(connection: socket.socket) -> None:
    """Turn keep-alive on. A peer that has vanished without closing is noticed after about 20 seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in OPTIONS.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
