"""Redis connections, Lua scripts, and the conversion of Redis errors to ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.errors import DependencyError
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.redis_pool import RedisPool, open_pool

Client = Redis
"""A client that returns bytes."""

SOCKET_TIMEOUT_S = 2.0
"""Last-resort time-out; callers set tighter deadlines. Without it a frozen Redis blocks a caller forever."""

AT_ONCE = 8
"""Commands per write on a kept connection, or an eighth of a longer backlog. Redis serves all it has read from one
connection before the next: 256 commands of a learner delayed the record of an answer by 7 to 13 ms. With 32 commands
p99 of answers was 7.0 ms, with 8 it was 5.4."""

RECORDS_AT_ONCE = 32
"""Commands per write that answers wait for: a second round trip would cost more."""


def connect(settings: Settings, *, timeout_s: float = SOCKET_TIMEOUT_S) -> Client:
    """Return a client; nothing is sent before the first command. Raises SettingsError."""
    return Redis.from_pool(open_pool(settings.REDIS_URL, timeout_s))


async def probe(client: Client) -> str:
    """Return the version of a Redis that takes writes. Raises DependencyError with a reason where it does not.

    PING is answered by a replica and by a full server, too. SETRANGE of nothing is refused by them as any other write
    is, and leaves no key.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.info("server")
    pipeline.setrange(redis_keys.PROBE, 0, b"")
    with redis_errors():
        server, _ = await pipeline.execute()
    return str(server["redis_version"])


async def eviction_policy(client: Client) -> str | None:
    """Return Redis' `maxmemory-policy`, or None if it does not tell, as many managed services."""
    try:
        answer: dict[str, str] = await client.config_get("maxmemory-policy")
    except ResponseError:
        return None
    return answer.get("maxmemory-policy")


async def memory_of(client: Client) -> tuple[int, int]:
    """Return used memory and its limit in bytes; 0 for no limit, or if Redis does not tell."""
    with redis_errors():
        try:
            told: dict[str, Any] = await client.info("memory")
        except ResponseError:
            return 0, 0
    return int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))


@contextmanager
def redis_errors() -> Iterator[None]:
    """Convert errors of Redis or its socket to DependencyError, and those of reading an answer that is not Redis's."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise_dependency_error(error)
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise _unreadable() from error


_REASONS = {
    "READONLY": "it is a replica and refuses writes",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "NOREPLICAS": "too few replicas follow it, so it refuses writes",
    "CLUSTERDOWN": "its cluster is down",
    "MOVED": "it is a node of a cluster that does not hold our keys",
    "NOAUTH": "it wants a login: check the password in REDIS_URL",
    "WRONGPASS": "it refuses the user or the password in REDIS_URL",
    "NOPERM": "the user in REDIS_URL lacks a permission (ACL)",
    "OOM": "its memory is full (maxmemory)",
    "MISCONF": "it cannot save to disk and refuses writes",
    "MAXCLIENTS": "it has its maximum number of clients",
}


def raise_dependency_error(error: BaseException) -> NoReturn:
    """Raise DependencyError for an error of Redis."""
    # Messages of redis-py carry addresses and keys; the error's first word says enough.
    code = getattr(error, "code", "")
    if code and code != "ERR":
        words = f"{code}: {_REASONS[code]}" if code in _REASONS else code
    elif isinstance(error, TimeoutError | RedisTimeoutError):
        words = "no answer in time"
    elif isinstance(error, AuthenticationError):
        words = "it refuses our login"
    elif isinstance(error, RedisConnectionError | OSError):
        words = "no connection"
    else:
        words = type(error).__name__
    raise DependencyError("redis", words, reason=words) from error


def texts_of(answer: Any) -> list[str]:
    """Return the texts of a script's answer. Raises DependencyError for any other: then Redis is not what answers."""
    if isinstance(answer, list) and answer and all(isinstance(part, bytes) for part in answer):
        return [part.decode("utf-8", "replace") for part in answer]
    raise _unreadable()


def _unreadable() -> DependencyError:
    return DependencyError("redis", "its answer cannot be read", reason="its answer cannot be read")


Arguments = Sequence[str | bytes | int | float]
Call = tuple[Sequence[str], Arguments]
"""Keys and arguments of one run of a script."""


class Damaged(Exception):
    """Result in place of a damaged value: one of a wrong type, or one at which a script stopped."""


async def answers_of(pipeline: Any) -> list[Any]:
    """Send a pipeline; return its answers, with Damaged for commands on damaged values. Raises DependencyError.

    One damaged key must not fail a whole batch.
    """
    with redis_errors():
        return _judged(await pipeline.execute(raise_on_error=False))


def _judged(answers: list[Any]) -> list[Any]:
    """Put Damaged in place of errors about a value; raise any other error."""
    for at, answer in enumerate(answers):
        if not isinstance(answer, BaseException) or isinstance(answer, NoScriptError):
            continue  # an unknown script is answered by sending it
        if not _is_damage(answer):
            raise answer
        answers[at] = Damaged(str(answer)[:200])
    return answers


def _is_damage(error: BaseException) -> bool:
    # What Redis says of itself starts with a word in capitals (OOM, MISCONF, …); redis-py drops the word ERR.
    words = str(error).split(maxsplit=1)
    return type(error) is ResponseError and (not words or words[0] == "WRONGTYPE" or not words[0].isupper())


class KeptConnection:
    """A dedicated connection for commands that requests wait for; one caller at a time.

    A pipeline of redis-py looks for a connection each time, has every argument encoded in Python (35 us for a record,
    which hiredis packs in 5), and reads each answer under a time-out of its own. Here callers set
    deadlines. Commands are sent again, once, if the connection turns out to be dead.
    """

    def __init__(self, client: Client, *, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._pool = cast("RedisPool", client.connection_pool)
        self._timeout_s = self._pool.connection_kwargs.get("socket_timeout") or SOCKET_TIMEOUT_S
        self._connection: Any = None
        self._taken = asyncio.Lock()

    async def run(self, commands: Sequence[Sequence[str | bytes | int | float]]) -> list[Any]:
        """Send commands, some at a time; return their answers as `answers_of` does. Raises DependencyError."""
        answers: list[Any] = []
        some = max(self._at_once, len(commands) // 8)
        for at in range(0, len(commands), some):
            answers += await self._some(commands[at : at + some])
        return answers

    async def _some(self, commands: Sequence[Sequence[str | bytes | int | float]]) -> list[Any]:
        packed = b"".join([pack_command(tuple(command)) for command in commands])  # type: ignore[arg-type]  # any length
        with redis_errors():
            return _judged(await self._answers(packed, len(commands)))

    async def _answers(self, commands: bytes, count: int) -> list[Any]:
        async with self._taken, asyncio.timeout(self._timeout_s):
            if self._connection is None:
                connection = await self._pool.get_connection()
                connection.socket_timeout = None
                self._connection = connection
            elif self._pool.outdated(self._connection):
                await self._connection.disconnect(nowait=True)
            try:
                return await self._exchange(commands, count)
            except (RedisConnectionError, OSError):
                return await self._exchange(commands, count)

    async def _exchange(self, commands: bytes, count: int) -> list[Any]:
        connection = self._connection
        try:
            await connection.send_packed_command(commands, check_health=False)
            return [await self._answer() for _ in range(count)]
        except BaseException:  # cancelled, too: what comes now would be read as the answer to the next command
            await connection.disconnect(nowait=True)
            raise

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error


class Script:
    """A Lua script of this folder, called by its hash, and loaded if the server does not know it."""

    def __init__(self, client: Client, *names: str, kept: KeptConnection | None = None) -> None:
        """Take the files that, one after the other, are the script; it goes by `kept`, or by the client's pool."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._kept = kept
        parts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names]
        self._script = client.register_script("".join(parts))

    async def call(self, keys: Sequence[str], arguments: Arguments) -> Any:
        """Run it once."""
        (answer,) = await self.call_many([(keys, arguments)])
        if isinstance(answer, Damaged):
            raise DependencyError("redis", "a stored value is damaged")
        return answer

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run it once for each (keys, arguments), each atomic, in order, in few round trips.

        The result of a call on a damaged value is Damaged. Some calls may have run when DependencyError is raised:
        scripts must be idempotent for the same arguments.
        """
        answers = await self._send(calls)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for at, answer in zip(unknown, await self._send([calls[at] for at in unknown], load=True), strict=True):
                answers[at] = answer
        if any(isinstance(answer, NoScriptError) for answer in answers):
            raise DependencyError("redis", "it does not keep our scripts")
        return answers

    async def _send(self, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """Send calls; `load`: the script before them, by the same connection and so to the same server."""
        commands: list[tuple[Any, ...]] = [("SCRIPT", "LOAD", self._script.script)] if load else []
        commands += [("EVALSHA", self._script.sha, len(keys), *keys, *more) for keys, more in calls]
        if self._kept is not None:
            answers = await self._kept.run(commands)
        else:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers = await answers_of(pipeline)
        return answers[1:] if load else answers
