"""Whether a part is ready: quick questions over loopback."""

from __future__ import annotations

import http.client
import socket
import struct

TIMEOUT_S = 1.0


def redis_answers(port: int) -> bool:
    """Return whether Redis has loaded its data and answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def postgres_answers(port: int) -> bool:
    """Return whether PostgreSQL would let somebody in; it listens before it does, and says so with an error."""
    hello = struct.pack("!i", 196_608) + b"user\0llm_router\0database\0postgres\0\0"  # protocol 3.0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(struct.pack("!i", len(hello) + 4) + hello)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def http_ok(port: int, path: str) -> bool:
    """Return whether GET answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Return whether something accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
