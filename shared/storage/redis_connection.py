"""One way to connect to Redis, and one place where its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from shared.errors import DependencyError
from shared.settings import Settings

Client = Redis
"""A client that answers bytes."""

SOCKET_TIMEOUT_S = 2.0
"""Backstop only: callers set tighter deadlines. Without it a frozen Redis hangs a caller for ever."""

_MAX_CONNECTIONS = 64


def connect(settings: Settings, *, timeout_s: float = SOCKET_TIMEOUT_S) -> Client:
    """Return a client; nothing is sent before the first command."""
    pool = BlockingConnectionPool.from_url(settings.REDIS_URL, timeout=timeout_s, **connection_options(timeout_s))
    return Redis.from_pool(pool)


def connection_options(timeout_s: float) -> dict[str, Any]:
    """Return what every connection of ours has.

    A command is sent again once when its connection turns out to be dead, as every pooled one is after a restart of
    Redis; all that we send may safely arrive twice. A time-out is not retried: the caller's deadline is spent.
    """
    retry = Retry(ExponentialBackoff(cap=0.05, base=0.01), 1, supported_errors=(RedisConnectionError,))
    return {
        "max_connections": _MAX_CONNECTIONS,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": retry,
        "retry_on_error": [RedisConnectionError],
    }


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn whatever Redis or its socket does into DependencyError."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise_dependency_error(error)


def raise_dependency_error(error: BaseException) -> NoReturn:
    """Raise DependencyError for an error of Redis."""
    # Messages of redis-py carry addresses and keys; the error's first word (OOM, MISCONF, …) says enough.
    words = str(error).split(maxsplit=1)
    code = f" {words[0]}" if words and words[0].isalpha() and words[0].isupper() else ""
    raise DependencyError("redis", f"{type(error).__name__}{code}") from error


Arguments = Sequence[str | bytes | int | float]
Call = tuple[Sequence[str], Arguments]
"""Keys and arguments of one run of a script."""


class Script:
    """A Lua script of this folder, called by its hash; sent whole where the server does not know it."""

    def __init__(self, client: Client, name: str) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._script = client.register_script(Path(__file__).with_name(name).read_text(encoding="utf-8"))

    async def call(self, keys: Sequence[str], arguments: Arguments) -> Any:
        """Run it once."""
        (answer,) = await self.call_many([(keys, arguments)])
        return answer

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run it once for each (keys, arguments), each atomic, in order, in one round trip. Raises DependencyError.

        Some may have run when an error is raised: scripts have to stand being called again with the same arguments.
        """
        with redis_errors():
            answers = await self._send(calls)
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                await self._client.script_load(self._script.script)
                for at, answer in zip(unknown, await self._send([calls[at] for at in unknown]), strict=True):
                    answers[at] = answer
            failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
            if failed is not None:
                raise failed
        return answers

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", self._script.sha, len(keys), *keys, *arguments)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers
