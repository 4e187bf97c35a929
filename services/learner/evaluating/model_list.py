"""Names and prices of the upstream's models, read at most every few minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from shared.bandit.arms import Arm, ArmId, Price
from shared.bandit.variants import base_of, resolve
from shared.errors import UpstreamError
from shared.logs import get_logger
from shared.ports import ChatModel, Clock

EVERY_S = 600.0
AGAIN_S = 30.0
"""Pause after the list could not be read."""

_log = get_logger(__name__)


class ModelList:
    """The upstream's list. Without one every name stands for itself, and only the `given` prices are known."""

    def __init__(self, chat: ChatModel, given: Mapping[str, Price], clock: Clock) -> None:
        self._chat = chat
        self._given = given
        self._clock = clock
        self._listed: dict[ArmId, Arm] = {}
        self._prices: dict[ArmId, Price] = dict(given)
        self._due = clock.monotonic()
        self._reading = asyncio.Lock()

    async def models(self) -> Mapping[ArmId, Arm]:
        """Return the listed models; those of the last time where the list cannot be read."""
        async with self._reading:
            if self._clock.monotonic() >= self._due:
                await self._read()
        return self._listed

    async def named(self, name: str) -> ArmId:
        """Return the id that a name means, which may leave out the provider."""
        listed = await self.models()
        return name if name in listed else resolve(name, listed) or name

    async def price(self, arm: ArmId) -> Price | None:
        """Return the given price of a model, else the listed one; None for neither."""
        listed = await self.models()
        model = listed.get(arm) or listed.get(base_of(arm) or "")
        return self._prices.get(arm) or (None if model is None else model.price)

    async def _read(self) -> None:
        try:
            self._listed = {arm.id: arm for arm in await self._chat.catalogue()}
        except UpstreamError as error:
            self._due = self._clock.monotonic() + AGAIN_S
            _log.warning("the upstream's models could not be read", reason=str(error))
            return
        self._due = self._clock.monotonic() + EVERY_S
        self._prices = {resolve(name, self._listed) or name: price for name, price in self._given.items()}
