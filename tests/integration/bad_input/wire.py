"""Raw HTTP: requests as bytes, one answer, and whatever follows it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KEY = "key-alpha-0123456789abcdef"
OTHER_KEY = "key-beta-0123456789abcdef"
SECRET = "sk-never-logged-4242424242"
PROMPT = "a prompt that is nobody's business 7f3a"
"""Sent in requests; neither may ever stand in a log."""

MESSAGES: list[dict[str, object]] = [{"role": "user", "content": PROMPT}]
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """One answer. `rest`: what came after it; `closed`: whether the server then closed."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    rest: bytes = b""
    closed: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    path: str = CHAT,
    body: bytes | dict[str, object] | None = None,
    *,
    method: str = "POST",
    key: str | None = KEY,
    drop: Iterable[str] = (),
    **headers: str,
) -> bytes:
    """Return a request. Header names are given with `_` for `-`; `drop` leaves one of the usual ones out."""
    raw = json.dumps(body).encode() if isinstance(body, dict) else (body or b"")
    fields = {"host": "gateway", "content-type": "application/json", "content-length": str(len(raw))}
    if key is not None:
        fields["authorization"] = f"Bearer {key}"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    kept = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if name not in drop)
    return f"{method} {path} HTTP/1.1\r\n{kept}\r\n".encode("latin-1") + raw


def chat(**fields: object) -> bytes:
    """Return a chat request with these fields changed."""
    return request(body={"model": "auto", "messages": MESSAGES, **fields})


def exchange(port: int, *parts: bytes | float, timeout_s: float = 8.0, linger_s: float = 0.0) -> Answer | None:
    """Send parts (sleeping at numbers); return the first answer, or None if the server closed without one.

    With `linger_s`, read on for that long to see whether anything follows or the server closes.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
        try:
            for part in parts:
                if isinstance(part, bytes):
                    client.sendall(part)
                else:
                    time.sleep(part)
        except OSError:
            pass  # the server has said its last word before reading everything
        answer = http.client.HTTPResponse(client)
        try:
            answer.begin()
            body = answer.read()
        except (http.client.BadStatusLine, ConnectionError):
            return None
        if answer.will_close and answer.status == 400:
            linger_s = max(linger_s, 3.0)  # it ends as soon as the server keeps its word
        rest, closed = _rest(client, linger_s) if linger_s else (b"", False)
        return Answer(answer.status, answer.msg, body, rest, closed)


def _rest(client: socket.socket, seconds: float) -> tuple[bytes, bool]:
    rest = b""
    client.settimeout(seconds)
    try:
        while part := client.recv(65536):
            rest += part
    except TimeoutError:
        return rest, False
    except OSError:
        pass
    return rest, True
