"""Resolution of request ids: public ids for their owner, public and own ids for an admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.schemas.ids import ambiguous
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, redis_errors

_EVERY_OWNER = "*"
"""Owner under which earlier versions stored an alias of each public id for admins."""


class Meant(NamedTuple):
    """A request, and the aliases by which it was found."""

    own_id: str
    aliases: Sequence[str]


async def find_own_id(client: Client, owner: str | None, public_id: str) -> Meant:
    """Return the request that `owner` (None: an admin) means; the id itself where no request is known by it.

    For an admin an own id goes before a public one. Raises DependencyError, and Conflict where several keys have
    requests of that public id.
    """
    with redis_errors():
        if owner is not None:
            alias = redis_keys.alias(owner, public_id)
            return _meant(public_id, [alias], [await client.get(alias)])
        return await _meant_by_admin(client, public_id)


async def _meant_by_admin(client: Any, public_id: str) -> Meant:
    pipeline = client.pipeline(transaction=False)
    pipeline.exists(redis_keys.request(public_id))
    pipeline.smembers(redis_keys.OWNERS)
    pipeline.hkeys(redis_keys.owners(public_id))
    own, owners, earlier = await pipeline.execute()
    if own:
        return Meant(public_id, ())
    known = (*sorted(each.decode() for each in {*owners, *earlier}), redis_keys.KEYLESS_OWNER)
    keys = [*(redis_keys.alias(owner, public_id) for owner in known), redis_keys.alias(_EVERY_OWNER, public_id)]
    aliases = await client.mget(keys)
    if any(aliases[:-1]):
        aliases[-1] = None
    found = {_own_id(alias): None for alias in aliases if alias is not None}
    if len(found) > 1:
        raise ambiguous(list(found))
    return _meant(public_id, keys, aliases)


def _meant(public_id: str, keys: Sequence[str], aliases: Sequence[bytes | None]) -> Meant:
    found = [(key, alias) for key, alias in zip(keys, aliases, strict=True) if alias is not None]
    return Meant(_own_id(found[0][1]) if found else public_id, [key for key, _ in found])


def _own_id(alias: bytes) -> str:
    return alias.decode().rstrip("!")
