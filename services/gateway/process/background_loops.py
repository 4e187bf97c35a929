"""What a gateway does beside the requests, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from services.gateway.chat.plan import ChatPorts
from services.gateway.limits import exploration_budget as exploration
from services.gateway.models import runtime_models as arm_list
from services.gateway.models.catalogue import RETRY_S
from services.gateway.models.posterior_cache import REFRESH_S
from services.gateway.process import gossip as notices
from services.gateway.process.repeated_steps import every
from shared.errors import DependencyError
from shared.resilience.supervision import Loop

FLUSH_S = 5.0
PREPARE_S = 1.0
REPLAY_S = 1.0
FIRST_LOOK_S = 2.0


async def run(ports: ChatPorts, _: web.Application) -> AsyncIterator[None]:
    """Look once, keep the loops while the application runs, and store what is left (an aiohttp clean-up context)."""
    await ports.recorder.adopt()
    await _first_look(ports)
    async with ports.supervisor.running(_loops(ports)):
        yield
        await asyncio.gather(*ports.returning, return_exceptions=True)
        await ports.recorder.flush(FLUSH_S)
    await ports.recorder.flush(0)  # a batch that the end of its loop has interrupted
    with suppress(DependencyError, TimeoutError):
        await ports.notices.leave()
    await ports.recorder.close()


def _loops(ports: ChatPorts) -> dict[str, Loop]:
    steps: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
        "catalogue": (RETRY_S, ports.catalogue.refresh_if_due),
        "arms": (arm_list.REFRESH_S, ports.arm_list.refresh),
        "free models": (arm_list.REFRESH_S, ports.free_arms.refresh),
        "posteriors": (REFRESH_S, ports.posteriors.refresh),
        "context": (PREPARE_S, ports.gatherer.prepare),
        "exploration": (exploration.REFRESH_S, ports.exploration.refresh),
        "replay": (REPLAY_S, ports.recorder.replay),
        "notices": (notices.REFRESH_S, ports.notices.exchange),
    }
    repeated: dict[str, Loop] = {name: partial(every, interval_s, step) for name, (interval_s, step) in steps.items()}
    return repeated | {"records": ports.recorder.write_for_ever, "wake-ups": ports.recorder.wake_for_ever}


async def _first_look(ports: ChatPorts) -> None:
    """Read models, learned state and collection once before the door opens, so that nobody meets an empty snapshot.

    The state comes after the models that it is fitted to. What fails or takes long is left to the loops.
    """
    models = (ports.arm_list.refresh, ports.free_arms.refresh, ports.catalogue.refresh, ports.free_arms.refresh)
    for step in (*models, ports.posteriors.refresh, ports.gatherer.prepare):
        with suppress(Exception):  # the loops meet it again at once, and say so
            async with asyncio.timeout(FIRST_LOOK_S):
                await step()
