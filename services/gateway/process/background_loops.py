"""Background loops of a gateway, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from services.gateway.chat.context import ContextGatherer
from services.gateway.chat.reservations import Reservations
from services.gateway.limits import exploration_budget
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.models import posterior_cache, runtime_models
from services.gateway.models.catalogue import RETRY_S, Catalogue
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels, SharedFreeArms
from services.gateway.process import gossip as gossiping
from services.gateway.process.gossip import Gossip
from services.gateway.process.repeated_steps import every
from services.gateway.records.record_writer import RecordWriter
from shared.errors import DependencyError
from shared.resilience.supervision import Loop, Supervisor

FLUSH_S = 5.0
PREPARE_S = 1.0
REPLAY_S = 1.0
FIRST_LOOK_S = 2.0


class BackgroundLoops:
    """Runs the loops under the supervisor, and stores what is left at the end."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        record_writer: RecordWriter,
        reservations: Reservations,
        gossip: Gossip,
        catalogue: Catalogue,
        runtime_models: RuntimeModels,
        free_arms: SharedFreeArms,
        posteriors: PosteriorCache,
        context_gatherer: ContextGatherer,
        exploration: ExplorationBudget,
    ) -> None:
        self._supervisor = supervisor
        self._record_writer = record_writer
        self._reservations = reservations
        self._gossip = gossip
        self._catalogue = catalogue
        self._runtime_models = runtime_models
        self._free_arms = free_arms
        self._posteriors = posteriors
        self._context_gatherer = context_gatherer
        self._exploration = exploration

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Read everything once, then run the loops while the application runs (an aiohttp clean-up context)."""
        writer = self._record_writer
        await writer.adopt()
        await self._first_look()
        async with self._supervisor.running(self._loops()):
            yield
            await self._reservations.settle()
            await writer.flush(FLUSH_S)
        await writer.flush(0)  # a batch that the end of its loop has interrupted
        with suppress(DependencyError, TimeoutError):
            await self._gossip.leave()
        await writer.close()

    def _loops(self) -> dict[str, Loop]:
        """Return the loops by the names that logs, metrics and `/health` show."""
        steps: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "catalogue": (RETRY_S, self._catalogue.refresh_if_due),
            "arms": (runtime_models.REFRESH_S, self._runtime_models.refresh),
            "free models": (runtime_models.REFRESH_S, self._free_arms.refresh),
            "posteriors": (posterior_cache.REFRESH_S, self._posteriors.refresh),
            "context": (PREPARE_S, self._context_gatherer.prepare),
            "exploration": (exploration_budget.REFRESH_S, self._exploration.refresh),
            "replay": (REPLAY_S, self._record_writer.replay),
            "notices": (gossiping.REFRESH_S, self._gossip.exchange),
        }
        loops: dict[str, Loop] = {name: partial(every, interval_s, step) for name, (interval_s, step) in steps.items()}
        return loops | {
            "records": self._record_writer.write_for_ever,
            "wake-ups": self._record_writer.wake_for_ever,
        }

    async def _first_look(self) -> None:
        """Read models, learned state and collection before the server starts, so that no request meets an empty state.

        The learned state comes after the models that it is fitted to. What fails or takes long is left to the loops.
        """
        free_arms, models = self._free_arms.refresh, self._runtime_models.refresh
        steps = (models, free_arms, self._catalogue.refresh, free_arms, self._posteriors.refresh)
        for step in (*steps, self._context_gatherer.prepare):
            with suppress(Exception):  # the loops meet the same error, and log it
                async with asyncio.timeout(FIRST_LOOK_S):
                    await step()
