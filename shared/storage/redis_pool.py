"""Connection pool for one Redis, which reconnects when its server cannot serve us (failover).

An error reply such as READONLY means that a connection works but leads to the wrong server: after a failover behind one
address the old primary continues as a replica. Such a reply closes its connection, and all older connections of the
pool reconnect at their next use, resolving the name again. The same follows from silence: a peer that has vanished
takes its idle connections with it.

Replies are checked in the parser, so that it works for commands, pipelines, transactions, scripts and arq.
"""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import Any

from redis._parsers import _AsyncHiredisParser  # the one that redis-py uses itself where hiredis is installed
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.errors import SettingsError
from shared.keep_alive import OPTIONS

_MAX_CONNECTIONS = 64
_SILENCE_S = 0.05
"""A caller that gives up earlier says nothing about the server."""

FRESH_S = 1.0
"""Silence of a younger connection means a slow server: reconnecting would not help."""

_WRONG_SERVER = frozenset(
    {"READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "MOVED", "TRYAGAIN", "NOAUTH"}
)
"""Error replies of a server that cannot serve us. NOREPLICAS fences a primary that has lost its replicas."""

_FULL = "max number of clients"
_WRAPPED = re.compile(r"(?:^ERR .*: -|because(?: of)?: -?)([A-Z]{2,24})\b")
"""The reply inside another: of a script (before Redis 7), of a transaction."""


class WrongServer(RedisConnectionError):
    """The connection leads to a server that cannot serve us now. `code` is the first word of its reply."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def code_of(reply: str) -> str:
    """Return the word in capitals that an error reply starts with, `MAXCLIENTS` for a full server, or ""."""
    word = reply.split(" ", 1)[0]
    if word in ("ERR", "EXECABORT") and (inner := _WRAPPED.search(reply)) is not None:
        return inner[1]
    if _FULL in reply[:64]:
        return "MAXCLIENTS"
    return word if word.isascii() and word.isalpha() and word.isupper() and len(word) < 24 else ""


class _Generation:
    """Counter of how often a pool has abandoned its server."""

    number = 0


class _Parser(_AsyncHiredisParser):
    """Reply parser that reports wrong or silent servers to the pool."""

    def __init__(self, generation: _Generation, socket_read_size: int) -> None:
        super().__init__(socket_read_size)
        self._generation = generation
        self._dialled_at = 0.0

    def on_connect(self, connection: Any) -> None:
        """Note the generation and the time of connecting."""
        super().on_connect(connection)  # type: ignore[no-untyped-call]  # redis-py's
        connection.generation = self._generation.number
        self._dialled_at = time.monotonic()

    def parse_error(self, response: str) -> Exception:  # type: ignore[override]  # a class method in redis-py
        """Return the exception that an error reply means; `code` is its first word."""
        code = code_of(response)
        if code in _WRONG_SERVER:
            self._generation.number += 1
            return WrongServer(code)
        error: Exception = super().parse_error(response)  # type: ignore[no-untyped-call]  # redis-py's
        error.code = code  # type: ignore[attr-defined]  # redis-py drops the word
        return error

    async def read_response(self, disable_decoding: bool = False) -> Any:  # noqa: FBT001, FBT002 - redis-py's
        """Return the next reply. A caller that waited in vain makes the pool reconnect."""
        began = time.monotonic()
        try:
            return await super().read_response(disable_decoding)
        except asyncio.CancelledError:
            if time.monotonic() - began > _SILENCE_S and began - self._dialled_at > FRESH_S:
                self._generation.number += 1
            raise


class RedisPool(BlockingConnectionPool):
    """Pool whose connections reconnect once one of them has met the wrong server."""

    def __init__(self, **options: Any) -> None:
        self._generation = _Generation()
        super().__init__(parser_class=partial(_Parser, self._generation), **options)

    def outdated(self, connection: Any) -> bool:
        """Whether the server has been abandoned since `connection` was opened."""
        return bool(getattr(connection, "generation", -1) != self._generation.number)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Make a connection ready for a command."""
        if self.outdated(connection):
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


def open_pool(url: str, timeout_s: float) -> RedisPool:
    """Return a pool; nothing is sent before the first command. Raises SettingsError.

    A command is sent again once when its connection turns out to be dead, as every pooled one is after a restart of
    Redis; all that we send may safely arrive twice. A time-out is not retried: the caller's deadline is spent.
    """
    options: dict[str, Any] = {
        "max_connections": _MAX_CONNECTIONS,
        "timeout": timeout_s,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(ExponentialBackoff(cap=0.05, base=0.01), 1, supported_errors=(RedisConnectionError,)),
        "retry_on_error": [RedisConnectionError],
    }
    # A connection by file knows no keep-alive, and redis-py refuses the word.
    if not url.startswith("unix:"):
        options |= {"socket_keepalive": True, "socket_keepalive_options": OPTIONS}
    try:
        pool: RedisPool = RedisPool.from_url(url, **options)
    except ValueError:
        # Not chained: the message may hold a piece of the password.
        raise SettingsError("REDIS_URL: not an address such as redis://user:password@host:6379/0") from None
    return pool
