"""What comes back: an answer, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class BadReply(ConnectionError):
    """What came back is not an answer that we understand; its connection is closed."""


class Closed(ConnectionError):
    """The connection ended before a byte of an answer had come."""


class NotConnected(ConnectionError):
    """There was no connection: nothing has been sent."""


class ConnectTimeout(NotConnected, TimeoutError):
    """There was none in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def only_chunk(data: bytes) -> bytes:
    """Return what the chunk holds that is all of `data`, as most streams come; empty where `data` is anything else."""
    end = data.find(b"\r\n")
    return data[end + 2 : -2] if data[:end] == b"%x" % max(len(data) - end - 4, 0) else b""
