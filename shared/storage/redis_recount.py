"""Recount of the learned sums by newer clusters: totals stay, the sums by cluster move."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.bandit.learning import with_cluster
from shared.clock import utc_day
from shared.ports import Clock
from shared.schemas.events import EventKind
from shared.schemas.storage import Move, Recounting
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, Script, answers_of, redis_errors
from shared.storage.redis_posteriors import parse_centroids

_LEDGERS = tuple(f"applied:{kind.value}" for kind in (EventKind.OUTCOME, EventKind.FEEDBACK))


class RedisRecounter:
    """`Recounter` on the ledgers of the requests; each is replaced only while it is what was read."""

    def __init__(self, client: Client, *, clock: Clock) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._clock = clock
        self._recount = Script(client, "ledger.lua", "recount.lua")

    async def state(self, limit: int) -> Recounting:
        """Return how far it is."""
        with redis_errors():
            fields = await self._client.hgetall(redis_keys.CENTROIDS)
            due = await self._client.srandmember(redis_keys.MISCOUNTED, limit)
            server = await self._client.info("server")
        centroids = parse_centroids(fields) if b"epoch" in fields else None
        return Recounting(
            centroids=centroids,
            counted=centroids is None or fields.get(b"counted") == fields[b"epoch"],
            due=[member.decode() for member in due],
            run=str(server.get("run_id", "")),
        )

    async def move(self, moves: Mapping[str, Move | None], epoch: int) -> int:
        """Count requests in their clusters; return how many could not be."""
        ids = [own_id for own_id, move in moves.items() if move is not None]
        pipeline = self._client.pipeline(transaction=False)
        gone = moves.keys() - set(ids)
        if gone:
            pipeline.srem(redis_keys.MISCOUNTED, *gone)
        for own_id in ids:
            pipeline.hmget(redis_keys.request(own_id), _LEDGERS)
        answers = await answers_of(pipeline) if moves else []
        calls = []
        for own_id, ledgers in zip(ids, answers[1 if gone else 0 :], strict=True):
            move = moves[own_id]
            if move is not None and not isinstance(ledgers, Damaged):
                calls.append((_keys(own_id), self._arguments(own_id, move, epoch, ledgers)))
        moved = await self._recount.call_many(calls) if calls else []
        return sum(isinstance(answer, Damaged) or answer == b"refused" for answer in moved)

    def _arguments(
        self, own_id: str, move: Move, epoch: int, ledgers: list[bytes | None]
    ) -> list[str | bytes | int | float]:
        day, now = utc_day(move.created_at), round(self._clock.now() * 1000)
        arguments: list[str | bytes | int | float] = [own_id, epoch, now, move.arm, day, redis_keys.SUMS]
        for name, held in zip(_LEDGERS, ledgers, strict=True):
            arguments += [name, held or b"", _moved(held or b"", move.cluster)]
        return arguments

    async def counted(self, epoch: int) -> None:
        """Say that every request is counted by the clusters of that epoch."""
        with redis_errors():
            await self._client.hset(redis_keys.CENTROIDS, "counted", epoch)


def _keys(own_id: str) -> list[str]:
    return [redis_keys.request(own_id), redis_keys.VERSIONS, redis_keys.CENTROIDS, redis_keys.MISCOUNTED]


def _moved(held: bytes, cluster: tuple[int, int] | None) -> bytes:
    """Return the ledger as it should be; as it is where nothing is to be moved, or it cannot be read."""
    try:
        sums: dict[str, int] = json.loads(held)
        moved = with_cluster(sums, cluster)
    except (ValueError, AttributeError):
        return held
    return held if moved == sums else json.dumps(moved, separators=(",", ":")).encode()


__all__ = ["RedisRecounter"]
