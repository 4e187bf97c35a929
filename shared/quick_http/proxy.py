"""HTTP proxy: a CONNECT tunnel for https, absolute URLs in the request line for http."""

from __future__ import annotations

import asyncio
import base64
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from shared.quick_http.replies import NotConnected

MAX_ANSWER_BYTES = 65_536
PROXY_AUTHENTICATION_REQUIRED = 407


class ProxyRefused(NotConnected):
    """The proxy refused to connect. `status` is that of its response, 0 if that was not HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status or 'no HTTP'}")
        self.status = status


class ProxyUnreachable(NotConnected):
    """The proxy itself cannot be connected to."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. `header` is the Proxy-Authorization line, or ""; it is never logged."""

    host: str
    port: int
    header: str

    def __repr__(self) -> str:
        return f"Proxy({self.name})"

    @property
    def name(self) -> str:
        """Return host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of_url(cls, url: str) -> Proxy:
        """Take `http://user:password@host:port`."""
        parts = urlsplit(url)
        header = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            header = f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}\r\n"
        return cls(parts.hostname or "", parts.port or 80, header)

    async def open_tunnel(self, connection: socket.socket, host: str, port: int) -> None:
        """Open a tunnel to an address on a connection to the proxy. Raises ProxyRefused, OSError."""
        loop = asyncio.get_running_loop()
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{self.header}\r\n"
        await loop.sock_sendall(connection, head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = await loop.sock_recv(connection, 4096)
            answer += piece
            if not piece or len(answer) > MAX_ANSWER_BYTES:
                raise ProxyRefused(_status(answer))
        if not 200 <= _status(answer) < 300:
            raise ProxyRefused(_status(answer))


def _status(answer: bytes) -> int:
    protocol, _, rest = answer.partition(b" ")
    return int(rest[:3]) if protocol.startswith(b"HTTP/1.") and rest[:3].isdigit() else 0
