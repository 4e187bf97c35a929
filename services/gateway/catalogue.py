"""Which models there are: LLM_MODELS and DEFAULT_MODEL, resolved against what the upstream lists, with its prices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

from shared.bandit.arms import Arm, ArmId, Price
from shared.bandit.eligibility import resolve_arm
from shared.errors import NotFound, UpstreamError
from shared.logs import get_logger
from shared.ports import ChatModel, Clock

_log = get_logger(__name__)

REFRESH_S = 300.0
RETRY_S = 2.0
FETCH_TIMEOUT_S = 10.0
_NAME = re.compile(r"[!-~]{1,256}")


class Catalogue:
    """The arms of the bandit, and every other model that a client may pin.

    Until the upstream has been asked, the settings are believed as they are, without prices.
    """

    def __init__(self, upstream: ChatModel, *, models: Sequence[str], default: str, clock: Clock) -> None:
        self._upstream = upstream
        self._models = tuple(dict.fromkeys(models))
        self._default = default
        self._clock = clock
        self._listed: dict[ArmId, Arm] = {}
        self._labels: frozenset[ArmId] = frozenset()
        self._fetched_at: float | None = None
        self.error: str | None = None
        self.asked = False
        self.fetch_s: float | None = None
        self.arms: tuple[Arm, ...] = ()
        self.default: ArmId | None = None
        self._resolve()

    @property
    def age_s(self) -> float | None:
        """Seconds since the upstream's list was read; None before the first time."""
        return None if self._fetched_at is None else self._clock.monotonic() - self._fetched_at

    @property
    def listed(self) -> tuple[Arm, ...]:
        """Return every model of the upstream."""
        return tuple(self._listed.values())

    @property
    def arm_ids(self) -> tuple[ArmId, ...]:
        """Return the ids of the bandit's arms."""
        return tuple(arm.id for arm in self.arms)

    async def refresh(self) -> None:
        """Read the upstream's list. Raises UpstreamError or TimeoutError; what was known stays."""
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                listed = await self._upstream.catalogue()
        except (UpstreamError, TimeoutError) as error:
            self.error = str(error) or type(error).__name__
            raise
        finally:
            self.asked = True
        self._fetched_at = self._clock.monotonic()
        self.fetch_s = self._fetched_at - started
        self.error = None
        # A listed name ends up in headers, keys and metrics; the upstream is input, too.
        self._listed = {arm.id: arm for arm in listed if _NAME.fullmatch(arm.id)}
        self._resolve()

    async def refresh_if_due(self) -> None:
        """Read the list if it was never read or is old; for a loop that runs every `RETRY_S`."""
        age = self.age_s
        if age is None or age >= REFRESH_S:
            await self.refresh()

    def price(self, arm: ArmId) -> Price | None:
        """Return the list price, if the upstream names one."""
        listed = self._listed.get(arm)
        return None if listed is None else listed.price

    def pin(self, name: str) -> ArmId:
        """Return the arm that a client means by `name`. Raises NotFound."""
        arm = self._find(name)
        if arm is None:
            raise NotFound("The model does not exist here.", code="model_not_found", param="model")
        return arm

    def narrow(self, names: Iterable[str]) -> tuple[ArmId, ...]:
        """Return the arms of the bandit that are among `names`. Raises NotFound for an unknown name or none left."""
        named = {self._find(name) for name in names}
        if None in named:
            raise NotFound("One of the models does not exist here.", code="model_not_found", param="models")
        kept = tuple(arm for arm in self.arm_ids if arm in named)
        if not kept:
            raise NotFound("None of the models is one that the router chooses from.", code="model_not_found",
                           param="models")  # fmt: skip
        return kept

    def label(self, arm: ArmId) -> str:
        """Return `arm` as a metric label: the configured ones by name, any other as `other`."""
        return arm if arm in self._labels else "other"

    def _find(self, name: str) -> ArmId | None:
        if name in self.arm_ids:
            return name
        if self.default is not None and name in {self.default, self._default}:
            return self.default
        return self._listed_as(name)

    def _listed_as(self, name: str) -> ArmId | None:
        """An exact id, or `model-name` without its provider where only one provider has it."""
        return name if name in self._listed else resolve_arm(name, self._listed)

    def _resolve(self) -> None:
        if not self._listed:
            self.arms = tuple(Arm(name) for name in self._models)
            self.default = self._default
        else:
            found = {name: self._listed_as(name) for name in self._models}
            missing = [name for name, arm in found.items() if arm is None]
            ids = dict.fromkeys(arm for arm in found.values() if arm is not None)
            if missing:
                _log.warning("models are not in the upstream's list", missing=missing, used=list(ids))
            # A list that knows none of ours is more likely wrong than our settings: keep serving.
            self.arms = tuple(self._listed[arm] for arm in ids) or tuple(Arm(name) for name in self._models)
            self.default = self._listed_as(self._default)
            if self.default is None:
                _log.warning("DEFAULT_MODEL is not in the upstream's list", model=self._default)
        self._labels = frozenset({*self.arm_ids, *([self.default] if self.default else [])})
