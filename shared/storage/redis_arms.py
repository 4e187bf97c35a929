"""Run-time changes of the list of models, and the models behind `free`, in Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shared.bandit.arms import ArmId, is_arm_name
from shared.errors import CorruptState
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, Script, answers_of

_WORDS = {b"1": True, b"0": False}

MAX_NAMES = 64


class RedisArmChanges:
    """`ArmChanges` by one small hash."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._change = Script(client, "change_arm.lua")

    async def read(self) -> Mapping[ArmId, bool]:
        """Return the last change of each model. Raises CorruptState if one is damaged."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(redis_keys.ARMS)
        (fields,) = await answers_of(pipeline)
        if isinstance(fields, Damaged):
            raise CorruptState(f"{redis_keys.ARMS} is not a hash")
        return dict(_said(name, word) for name, word in fields.items())

    async def add(self, arm: ArmId) -> None:
        """Add a model."""
        await self._change.call([redis_keys.ARMS], [arm, "1"])

    async def remove(self, arm: ArmId, others: Collection[ArmId]) -> bool:
        """Remove a model if one of `others` is left, atomically: operators may remove several concurrently."""
        return bool(await self._change.call([redis_keys.ARMS], [arm, "0", *others]))


def _said(name: bytes, word: bytes) -> tuple[ArmId, bool]:
    arm = name.decode("utf-8", "replace")
    if not is_arm_name(arm) or word not in _WORDS:
        raise CorruptState(f"{redis_keys.ARMS} has a field that is not a model and 1 or 0")
    return arm, _WORDS[word]


class RedisFreeArms:
    """`FreeArmMemory` by one string: the names, with spaces between."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._replace = Script(client, "replace_text.lua")

    async def read(self) -> tuple[ArmId, ...]:
        """Return the choice; CorruptState if it is damaged."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(redis_keys.FREE_ARMS)
        (text,) = await answers_of(pipeline)
        if isinstance(text, Damaged):
            raise CorruptState(f"{redis_keys.FREE_ARMS} is not a string")
        names = () if text is None else tuple(text.decode("utf-8", "replace").split(" "))
        if len(names) > MAX_NAMES or not all(is_arm_name(name) for name in names):
            raise CorruptState(f"{redis_keys.FREE_ARMS} has a name that no model can have, or too many")
        return names

    async def replace(self, before: tuple[ArmId, ...], after: tuple[ArmId, ...]) -> bool:
        """Write `after` if the choice still is `before`, in one step."""
        return bool(await self._replace.call([redis_keys.FREE_ARMS], [" ".join(before), " ".join(after)]))
