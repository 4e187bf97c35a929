"""Lists of models of all upstreams, each read on its own: one that fails, or is slow, keeps no other from being read.

`Places` (`shared/models_file/places.py`) says under which id a listed model is an arm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from shared.bandit.arms import Arm, ArmId, is_arm_name
from shared.errors import UpstreamError
from shared.logs import get_logger
from shared.models_file import ModelsFile, Upstream
from shared.models_file.places import Places
from shared.ports import Clock
from shared.upstreams import Upstreams

_log = get_logger(__name__)

REFRESH_S = 300.0
RETRY_S = 2.0
MAX_RETRY_S = 60.0
"""After a failure a list is read again after `RETRY_S`; the pause doubles up to this."""
FETCH_TIMEOUT_S = 10.0
_NO_LIST = frozenset({404, 405, 501})
"""Statuses of an upstream that has no list of models."""


class UpstreamList:
    """The list of one upstream.

    Attributes:
        arms: its models under its own names; empty until the list is read, and where it has none.
        has_list: whether it has one, as far as is known.
        asked: whether it was ever asked for it, with or without success.
        error: why the last reading failed, else None.
        fetch_s: how long the last reading took.
    """

    def __init__(self, name: str, settings: Upstream, upstreams: Upstreams, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._upstreams = upstreams
        self._clock = clock
        self._fetched_at: float | None = None
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self.arms: tuple[Arm, ...] = ()
        self.has_list = settings.list_models
        self.asked = False
        self.error: str | None = None
        self.fetch_s: float | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the list was read; None before the first time."""
        return None if self._fetched_at is None else self._clock.monotonic() - self._fetched_at

    @property
    def is_read(self) -> bool:
        """Whether a model that is not in `arms` is one that the upstream does not have."""
        return self.has_list and self._fetched_at is not None

    @property
    def is_due(self) -> bool:
        """Whether the list was never read, or long ago, and no pause after a failure keeps it from being read."""
        if self.age_s is not None and self.age_s < REFRESH_S:
            return False
        return self.error is None or self._clock.monotonic() >= self._retry_at

    async def refresh(self) -> None:
        """Read the list. Raises UpstreamError or TimeoutError; the last list stays."""
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                listed = await self._fetch()
        except (UpstreamError, TimeoutError) as error:
            self.error = str(error) or type(error).__name__
            self._retry_at = self._clock.monotonic() + self._retry_s
            self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
            raise
        finally:
            self.asked = True
        self._fetched_at = self._clock.monotonic()
        self.fetch_s = self._fetched_at - started
        self.error, self._retry_s = None, RETRY_S
        if self.has_list and listed is None:
            _log.warning(
                "the upstream has no list of models: prices are unknown, and any model may be named",
                upstream=self.name,
            )
        self.has_list = listed is not None
        # The upstream is input, too: a listed name is used in headers, keys and metrics.
        self.arms = tuple(arm for arm in listed or () if is_arm_name(arm.id))

    async def _fetch(self) -> tuple[Arm, ...] | None:
        """Return the models, or None where there is no list; once a list was read, 404 is an error."""
        if not self.settings.list_models:
            return None
        try:
            return await self._upstreams.named(self.name).catalogue()
        except UpstreamError as error:
            if error.status in _NO_LIST and not self.arms:
                return None
            raise


class ModelLists:
    """The lists of all upstreams of a ModelsFile. `places`: which upstream has an arm."""

    def __init__(self, file: ModelsFile, upstreams: Upstreams, clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self.lists: dict[str, UpstreamList] = {}
        self.configure(file)

    def configure(self, file: ModelsFile) -> None:
        """Use another file; lists of upstreams that it does not change are kept."""
        before, self.file, self.places = self.lists, file, Places(file)
        self.lists = {name: self._list(name, settings, before.get(name)) for name, settings in file.upstreams.items()}

    def _list(self, name: str, settings: Upstream, before: UpstreamList | None) -> UpstreamList:
        """Return the list of an upstream: that of before, or with its models until it is read again."""
        if before is not None and before.settings == settings:
            return before
        made = UpstreamList(name, settings, self._upstreams, self._clock)
        if before is not None and before.settings.base_url == settings.base_url:
            made.arms = before.arms
        return made

    @property
    def age_s(self) -> float | None:
        """Seconds since the oldest of the lists was read; None while none is."""
        ages = [one.age_s for one in self.lists.values() if one.age_s is not None]
        return max(ages, default=None)

    @property
    def error(self) -> str | None:
        """Why a list could not be read; None where all could."""
        failed = {name: one.error for name, one in self.lists.items() if one.error is not None}
        if len(self.lists) == 1:
            return next(iter(failed.values()), None)
        return "; ".join(f"{name}: {error}" for name, error in failed.items()) or None

    @property
    def asked(self) -> bool:
        """Whether an upstream was asked for its list, with or without success; all are at the start, concurrently."""
        return any(one.asked for one in self.lists.values())

    def of(self, arm: ArmId) -> UpstreamList:
        """Return the list of the upstream that serves `arm`."""
        return self.lists[self.places.of(arm).upstream]

    def arms(self) -> dict[ArmId, Arm]:
        """Return all models that are known: those listed, and those of the file where its upstream lists nothing."""
        found: dict[ArmId, Arm] = {}
        for name, one in self.lists.items():
            found |= self.places.listed(name, one.arms)
        for model in self.file.models:
            if not self.of(model.id).arms:
                found[model.id] = self.places.arm(model.id)
        return found

    async def refresh(self, on_read: Callable[[UpstreamList], None], *, due_only: bool = False) -> None:
        """Read all lists concurrently; `on_read` is called after each that was read.

        Raises UpstreamError where one could not be read, or waits after a failure; the last lists stay.
        """

        async def read(one: UpstreamList) -> None:
            with suppress(UpstreamError, TimeoutError):  # `error` has it
                await one.refresh()
                on_read(one)

        async with asyncio.TaskGroup() as group:
            for one in self.lists.values():
                if one.is_due or not due_only:
                    group.create_task(read(one))
        error = self.error
        if error is not None:
            raise UpstreamError(error)
