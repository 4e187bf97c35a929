"""A gateway of fakes with a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.gateway.app import Gateway
from services.gateway.evaluation.results import Result
from shared.bandit.arms import Arm, Price
from shared.schemas.evaluation import EvaluationTask
from tests.support.fakes.chat_model import FakeChatModel
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route
from tests.support.values import replace

JUDGE = Arm("v/judge", Price(prompt_usd=1e-6, completion_usd=2e-6), context_tokens=100_000)
OTHERS = {"a/small", "b/middle", "c/large"}


def judged_world(folder: Path, *arms: Arm, **settings: object) -> World:
    """Return a world whose upstream lists the judge, and `arms` in place of those of the same names."""
    world = World(settings_for(folder / "spool", **{"JUDGE_MODEL": "v/judge", **settings}))
    listed = {arm.id: arm for arm in (*ARMS, JUDGE, *arms)}
    world.upstream = FakeChatModel(tuple(listed.values()))
    return world


def changed(name: str, **changes: object) -> Arm:
    """Return the listed arm of that name with changes."""
    return replace(next(arm for arm in (*ARMS, JUDGE) if arm.id == name), **changes)


async def ask(gateway: Gateway, *, owner: str = "public", evaluate: bool = True, size: int = 0, **fields: Any) -> str:
    """Ask once; return the arm that answered."""
    request = new_request(owner=owner, evaluate=evaluate, body_bytes=size)
    done = await complete(await route(chat(**fields), request, gateway), gateway)
    return done.served.outcome.arm


def tasks(world: World) -> list[EvaluationTask]:
    """Return the submitted tasks."""
    return [queued.task for queued in world.memory.tasks.values()]


def counts(world: World) -> dict[Result, float]:
    """Return what the metric has counted."""
    return {result: number for result in Result if (number := world.counted("evaluation_requests", result=result))}
