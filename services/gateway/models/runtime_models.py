"""Changes of the list of models at run time, on top of LLM_MODELS: kept in Redis, the same for all gateways.

No request waits for it: each gateway reads it once a second. A list that cannot be read is refused, and the last valid
one kept. What was learned of a removed model stays, and counts again when the model is added again.

`SharedFreeArms` does the same for the models that `free` in LLM_MODELS stands for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from services.gateway.models.catalogue import Catalogue
from shared.bandit.arms import ArmId, is_arm_name
from shared.bandit.free_arms import FREE
from shared.errors import Conflict, CorruptState, DependencyError, InvalidRequest, NotFound, Unavailable
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.schemas.terms import AUTO

_log = get_logger(__name__)

REFRESH_S = 1.0


class ArmChanges(Protocol):
    """What was added to LLM_MODELS, or taken out, at run time: the last word on each model."""

    async def read(self) -> Mapping[ArmId, bool]:
        """Return the models that were named: True where added, False where taken out.

        Raises CorruptState where a name or a word is none.
        """

    async def add(self, arm: ArmId) -> None:
        """Add a model; again changes nothing."""

    async def remove(self, arm: ArmId, others: Collection[ArmId]) -> bool:
        """Take a model out; again changes nothing. False, and nothing done, where all of `others` are out already."""


class FreeArmMemory(Protocol):
    """The choice that all gateways share."""

    async def read(self) -> tuple[ArmId, ...]:
        """Return the choice, empty where there is none. Raises CorruptState where a name is none."""

    async def replace(self, before: tuple[ArmId, ...], after: tuple[ArmId, ...]) -> bool:
        """Write `after` if the choice still is `before`; return whether it was."""


class RuntimeModels:
    """Reads changes of the list, and makes them."""

    def __init__(self, changes: ArmChanges, catalogue: Catalogue, *, metrics: GatewayMetrics, timeout_s: float) -> None:
        self._changes = changes
        self._catalogue = catalogue
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        """Held from reading to taking over: an older reading must not come after a newer one."""
        self.refused: str | None = None

    async def refresh(self) -> None:
        """Take over what was changed.

        Raises DependencyError, TimeoutError or CorruptState; the last good list stays.
        """
        async with asyncio.timeout(self._timeout_s), self._lock:
            await self._read()

    async def change(self, name: str, *, wanted: bool, by: str) -> None:
        """Add a model, or take it out; `by` is the short hash of whose key it was.

        Raises InvalidRequest, NotFound, Conflict for the last one, or Unavailable.
        """
        arm = self._meant(name, wanted=wanted)
        try:
            async with asyncio.timeout(self._timeout_s), self._lock:
                said, before = await self._read(), self._catalogue.arm_ids
                await self._write(arm, wanted=wanted)
                self._catalogue.change({**said, arm: wanted})
        except (DependencyError, TimeoutError, CorruptState) as error:
            raise Unavailable(
                "The list of models cannot be changed right now.", code="dependency_unavailable"
            ) from error
        if self._catalogue.arm_ids != before:
            _log.info("arm added" if wanted else "arm removed", arm=arm, by=by, arms=self._catalogue.arm_ids)

    def view(self) -> dict[str, Any]:
        """Return the list, and how it differs from LLM_MODELS."""
        catalogue = self._catalogue
        return {"arms": catalogue.arm_ids, "added": catalogue.added, "removed": catalogue.removed}

    async def _read(self) -> dict[ArmId, bool]:
        try:
            said = dict(await self._changes.read())
        except CorruptState as error:
            self.refused = str(error)
            self._metrics.snapshot_refused.inc()
            raise
        self.refused, before = None, self._catalogue.arm_ids
        self._catalogue.change(said)
        if self._catalogue.arm_ids != before:
            _log.info("arms as changed at run time", arms=self._catalogue.arm_ids)
        return said

    async def _write(self, arm: ArmId, *, wanted: bool) -> None:
        if wanted:
            await self._changes.add(arm)
        elif not await self._changes.remove(arm, [other for other in self._catalogue.arm_ids if other != arm]):
            raise Conflict("This is the last model: add another one first.", code="last_arm", param="arm")

    def _meant(self, name: str, *, wanted: bool) -> ArmId:
        if not is_arm_name(name) or name in (AUTO, FREE):
            raise InvalidRequest("This cannot be the name of a model.", code="invalid_value", param="arm")
        arm = self._catalogue.named(name)
        if arm is None and not wanted and self._catalogue.mentions(name):
            return name  # the upstream has given it up, and it may come back
        if arm is None:
            raise NotFound("The upstream lists no such model.", code="model_not_found", param="arm")
        return arm


class SharedFreeArms:
    """Keeps the choice of this gateway and that in Redis the same."""

    def __init__(self, catalogue: Catalogue, memory: FreeArmMemory, *, timeout_s: float) -> None:
        self._catalogue = catalogue
        self._memory = memory
        self._timeout_s = timeout_s
        self._seen: tuple[ArmId, ...] = ()

    async def refresh(self) -> None:
        """Take over what others have changed, else write what has changed here.

        Raises DependencyError, TimeoutError or CorruptState; the choice stays.
        """
        if not self._catalogue.uses_free:
            return
        async with asyncio.timeout(self._timeout_s):
            shared, own = await self._memory.read(), self._catalogue.free
            if shared and shared != self._seen:
                self._seen = shared
                self._catalogue.adopt_free(shared)
            elif own.chosen != shared and await self._memory.replace(shared, own.chosen):
                self._seen = own.chosen
