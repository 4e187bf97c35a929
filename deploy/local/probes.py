"""Readiness probes over the loopback interface."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time

TIMEOUT_S = 1.0
DEGRADED_TIMEOUT_S = 10.0


def redis_answers(port: int) -> bool:
    """Whether Redis has loaded its data and answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def postgres_answers(port: int) -> bool:
    """Whether PostgreSQL accepts logins. It listens earlier, and answers with an error until then."""
    hello = struct.pack("!i", 196_608) + b"user\0llm_router\0database\0llm_router\0\0"  # protocol 3.0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(struct.pack("!i", len(hello) + 4) + hello)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def http_ok(port: int, path: str) -> bool:
    """Whether GET returns 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class GatewayProbe:
    """Readiness probe of the gateway that also waits, for up to ten seconds, until it is not degraded.

    So the first decision has neighbours. After that time it is ready in any case: a dependency or the upstream that the
    user runs elsewhere may be down, and the table of the start says so.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._serves_since: float | None = None

    def __call__(self) -> bool:
        """Probe once."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/ready")
            response = connection.getresponse()
            missing = response.status != 200 or json.loads(response.read()).get("degraded")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()
        now = time.monotonic()
        self._serves_since = now if self._serves_since is None else self._serves_since
        return not missing or now - self._serves_since > DEGRADED_TIMEOUT_S


def listens(port: int) -> bool:
    """Whether a server accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
