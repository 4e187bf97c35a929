"""Results of a call: a response, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class BadReply(ConnectionError):
    """The response is not valid HTTP, or too large; its connection is closed."""


class Closed(ConnectionError):
    """The connection ended before a byte of a response."""


class NotConnected(ConnectionError):
    """No connection could be made: nothing has been sent."""


class ConnectTimeout(NotConnected, TimeoutError):
    """No connection could be made in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def only_chunk(data: bytes) -> bytes:
    """Return the content of a single chunk that is all of `data`, as in most streams; empty for anything else."""
    end = data.find(b"\r\n")
    return data[end + 2 : -2] if data[:end] == b"%x" % max(len(data) - end - 4, 0) else b""
