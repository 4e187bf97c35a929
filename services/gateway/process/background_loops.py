"""Background loops of a gateway, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial

from aiohttp import web

from services.gateway.chat.context import ContextGatherer
from services.gateway.chat.reservations import Reservations
from services.gateway.evaluation import submitter as evaluation_submitter
from services.gateway.evaluation.submitter import EvaluationSubmitter
from services.gateway.limits import exploration_budget
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.models import posterior_cache, runtime_models
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.model_lists import RETRY_S
from services.gateway.models.models_reload import ModelsReload
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels, SharedFreeArms
from services.gateway.process import gossip as gossiping
from services.gateway.process import past_posteriors
from services.gateway.process.gossip import Gossip
from services.gateway.process.past_posteriors import PastPosteriors
from services.gateway.records.record_writer import RecordWriter
from shared.errors import DependencyError, RouterError
from shared.logs import get_logger
from shared.models_file.watch import EVERY_S
from shared.resilience.supervision import Loop, Pulse, Supervisor
from shared.traffic import Traffic

_log = get_logger(__name__)

FLUSH_S = 5.0
PREPARE_S = 1.0
REPLAY_S = 1.0
FIGURES_S = 1.0
FIRST_LOOK_S = 2.0


@dataclass(eq=False, repr=False)
class BackgroundLoops:
    """Runs the loops under the supervisor, and stores what is left at the end."""

    supervisor: Supervisor
    _: KW_ONLY
    record_writer: RecordWriter
    reservations: Reservations
    gossip: Gossip
    catalogue: Catalogue
    models_reload: ModelsReload
    runtime_models: RuntimeModels
    free_arms: SharedFreeArms
    posteriors: PosteriorCache
    context_gatherer: ContextGatherer
    exploration: ExplorationBudget
    traffic: Traffic
    past_posteriors: PastPosteriors
    evaluations: EvaluationSubmitter | None = None

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Read everything once, then run the loops while the application runs (an aiohttp clean-up context)."""
        writer = self.record_writer
        await writer.adopt()
        await self._first_look()
        async with self.supervisor.running(self._loops()):
            yield
            await self.reservations.settle()
            await writer.flush(FLUSH_S)
        await writer.flush(0)  # a batch that the end of its loop has interrupted
        with suppress(DependencyError, TimeoutError):
            await self.gossip.leave()
        with suppress(DependencyError, TimeoutError):
            await self.traffic.store()
        await writer.close()

    def _loops(self) -> dict[str, Loop]:
        """Return the loops by the names that logs, metrics and `/health` show."""
        steps: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "catalogue": (RETRY_S, self.catalogue.refresh_if_due),
            "models file": (EVERY_S, self.models_reload.refresh),
            "arms": (runtime_models.REFRESH_S, self.runtime_models.refresh),
            "free models": (runtime_models.REFRESH_S, self.free_arms.refresh),
            "posteriors": (posterior_cache.REFRESH_S, self.posteriors.refresh),
            "context": (PREPARE_S, self.context_gatherer.prepare),
            "exploration": (exploration_budget.REFRESH_S, self.exploration.refresh),
            "figures": (FIGURES_S, self.traffic.store),
            "past posteriors": (past_posteriors.RECORD_S, self.past_posteriors.record),
            "replay": (REPLAY_S, self.record_writer.replay),
            "notices": (gossiping.REFRESH_S, self.gossip.exchange),
        }
        evaluations: dict[str, Loop] = {}
        if self.evaluations is not None:
            steps["evaluation budget"] = (evaluation_submitter.REFRESH_S, self.evaluations.refresh)
            evaluations["evaluations"] = self.evaluations.submit_for_ever
        loops: dict[str, Loop] = {name: partial(every, interval_s, step) for name, (interval_s, step) in steps.items()}
        return (
            loops
            | evaluations
            | {
                "records": self.record_writer.write_for_ever,
                "wake-ups": self.record_writer.wake_for_ever,
            }
        )

    async def _first_look(self) -> None:
        """Read models, learned state and collection before the server starts, so that no request meets an empty state.

        The learned state comes after the models that it is fitted to. What fails or takes long is left to the loops.
        """
        free_arms, models = self.free_arms.refresh, self.runtime_models.refresh
        steps = (models, free_arms, self.catalogue.refresh, free_arms, self.posteriors.refresh)
        for step in (*steps, self.context_gatherer.prepare):
            with suppress(Exception):  # the loops meet the same error, and log it
                async with asyncio.timeout(FIRST_LOOK_S):
                    await step()


async def every(interval_s: float, step: Callable[[], Awaitable[None]], pulse: Pulse) -> None:
    """Run `step` for ever with a pause between; a failing step is logged when its kind of error changes."""
    last, name = "", pulse.name
    while True:
        pulse.begin()
        try:
            await step()
            if last:
                _log.info("recovered", loop=name)
            last = ""
        except (RouterError, TimeoutError) as error:
            # A dependency that is away for an hour is one line, not 7,200.
            if type(error).__name__ != last:
                _log.warning("background step failed", loop=name, error=type(error).__name__, detail=str(error)[:300])
            last = type(error).__name__
        except Exception:  # noqa: BLE001 - the edge: whatever a step does, the loop goes on and says so
            _log.exception("background step broke", loop=name)
            last = "broken"
        pulse.end()
        await asyncio.sleep(interval_s)
