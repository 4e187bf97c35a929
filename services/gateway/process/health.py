"""Health: the state of every part, for people and load balancers. Probes at most once a second, never a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any

from services.gateway.chat.context import ContextGatherer
from services.gateway.evaluation.submitter import EvaluationSubmitter
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.models_reload import ModelsReload
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.price_list import MAX_NAMED
from services.gateway.models.runtime_models import RuntimeModels
from services.gateway.process.gossip import Gossip
from services.gateway.process.health_part import Part
from services.gateway.process.upstream_health import all_upstreams, upstream_parts
from services.gateway.records.record_writer import RecordWriter
from shared.errors import RouterError
from shared.ports import Clock, EventQueue, Heartbeats
from shared.resilience.supervision import Supervisor
from shared.resilience.upstream_circuits import CircuitBreakers

PROBE_TIMEOUT_S = 1.0
KEEP_S = 1.0

Probe = Callable[[], Awaitable[str]]
"""Probes a part; returns its version."""


class Readiness:
    """Readiness of this process for traffic: until SIGTERM drains it; there is no way back."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Ask for no more traffic; requests in flight are finished."""
        self.draining = True


@dataclass(eq=False, repr=False)
class Health:
    """Reports of `/health` and `/ready`."""

    readiness: Readiness
    _: KW_ONLY
    catalogue: Catalogue
    models_reload: ModelsReload
    runtime_models: RuntimeModels
    posteriors: PosteriorCache
    context_gatherer: ContextGatherer
    record_writer: RecordWriter
    gossip: Gossip
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    exploration: ExplorationBudget
    evaluations: EvaluationSubmitter | None
    supervisor: Supervisor
    clock: Clock
    probes: Mapping[str, Probe]
    queue: EventQueue
    heartbeats: Heartbeats
    version: str
    database: Callable[[], Awaitable[Part]] | None = None
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _report: dict[str, Any] = field(init=False, default_factory=dict)
    _made_at: float = field(init=False, default=float("-inf"))

    def not_ready(self) -> str | None:
        """Return why this process should get no traffic, or None. Degraded is still ready."""
        if self.readiness.draining:
            return "draining"
        if not self.catalogue.lists.asked:
            return "the upstream's models have not been asked for yet"
        if not self.posteriors.asked:
            return "the learned state has not been asked for yet"
        if not self.catalogue.arm_ids and self.catalogue.lists.age_s is None:
            return "no model is known: the upstream's list could not be read, and the settings name none"
        if self.record_writer.losing:
            return "records cannot be stored"
        return None

    def missing(self) -> list[str]:
        """Return the dependencies that decisions miss now."""
        gatherer = self.context_gatherer
        checks = {
            "embedder": gatherer.model is None or gatherer.skips("embedder"),
            "qdrant": not gatherer.prepared or gatherer.skips("qdrant"),
            "redis": self.posteriors.stale or self.record_writer.redis_away,
        }
        return [name for name, missed in checks.items() if missed]

    async def report(self) -> dict[str, Any]:
        """Return the state of everything; at most a second old."""
        async with self._lock:
            now = self.clock.monotonic()
            if now - self._made_at >= KEEP_S:
                self._report = await self._make()
                self._made_at = now
            return self._report

    async def _make(self) -> dict[str, Any]:
        names = [*self.probes, "learner", "queue"]
        asked = [*(self._ask(probe) for probe in self.probes.values()), self._learners(), self._depth()]
        found = await asyncio.gather(*asked, return_exceptions=True)
        parts: dict[str, Part] = dict(zip(names, map(_part_of, found), strict=True))
        if self.database is not None:
            parts["postgres"] = await self._postgres(self.database)
        upstreams = upstream_parts(self.catalogue, self.circuit_breakers)
        parts["upstream"] = all_upstreams(upstreams)
        parts["snapshot"] = self._snapshot()
        parts["recorder"] = self._recorder()
        parts["background"] = self._background()
        parts["prices"] = self._prices()
        refused = self.models_reload.refused
        if refused is not None:
            parts["models_file"] = Part("degraded", detail=f"the last valid file is in use: {refused}")
        healthy = all(part.status == "ok" for part in parts.values()) and self.runtime_models.refused is None
        return {
            "status": "ok" if healthy else "degraded",
            "version": self.version,
            "draining": self.readiness.draining,
            "parts": {name: asdict(part) for name, part in parts.items()},
            "upstreams": {name: asdict(part) for name, part in upstreams.items()},
            "exploration": self._exploration(),
            "evaluations": None if self.evaluations is None else self.evaluations.view(),
            "arms": self._arms(),
            "arm_list": self._arm_list(),
            "unlisted": self.catalogue.unlisted,
            "default_model": self._default_model(),
            "gateways": self._gateways(),
            "background": {name: pulse.view() for name, pulse in self.supervisor.pulses.items()},
        }

    def _arms(self) -> dict[str, Any]:
        breakers, catalogue = self.circuit_breakers, self.catalogue
        arms = dict.fromkeys((*catalogue.arm_ids, *([catalogue.default] if catalogue.default else [])))
        found_by = self.gossip.found_by()
        return {
            arm: {
                "circuit": breakers.circuit(arm),
                "rests_s": round(breakers.cooldown_s(arm), 1),
                "found_by": found_by.get(arm, []),
                "refuses": self.learned_limits.view(arm),
            }
            for arm in arms
        }

    def _arm_list(self) -> dict[str, Any]:
        """Return which arms there are, and which models `free` stands for (null where it is not used)."""
        models, catalogue = self.runtime_models, self.catalogue
        free = catalogue.free.arms if catalogue.uses_free else None
        return {**models.view(), "refused": models.refused is not None, "free": free}

    def _default_model(self) -> dict[str, Any]:
        """Return DEFAULT_MODEL as set, the model used for it, and whether that one stands in for an unlisted one."""
        catalogue = self.catalogue
        price = None if catalogue.default is None else catalogue.price(catalogue.default)
        return {
            "configured": catalogue.default_name,
            "used": catalogue.default,
            "replaced": catalogue.default_replaced,
            "usd_per_million_prompt_tokens": None if price is None else round(price.prompt_usd * 1e6, 6),
            "usd_per_million_completion_tokens": None if price is None else round(price.completion_usd * 1e6, 6),
        }

    def _gateways(self) -> dict[str, Any]:
        """Return the living gateways: when they last said something, and whether their records are late."""
        gossip = self.gossip
        others = {
            name: {"said_s_ago": round(said.age_s, 1), "behind": said.behind} for name, said in gossip.heard.items()
        }
        return {gossip.name: {"said_s_ago": 0.0, "behind": self.record_writer.behind}, **others}

    async def _ask(self, probe: Probe) -> Part:
        started = self.clock.monotonic()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                version = await probe()
        except TimeoutError:
            return Part("down", detail="no answer in time")
        except RouterError as error:
            return Part("down", detail=getattr(error, "reason", "") or "no usable answer")
        return Part("ok", latency_ms=round((self.clock.monotonic() - started) * 1000, 2), version=version)

    async def _learners(self) -> Part:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                alive = await self.heartbeats.alive()
        except (RouterError, TimeoutError):
            return Part("unknown", detail="redis cannot be asked")
        if not alive:
            return Part("down", detail="no heartbeat")
        return Part("ok", version=", ".join(sorted(set(alive.values()))), detail=f"{len(alive)} alive")

    async def _depth(self) -> Part:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                depth = await self.queue.depth()
        except (RouterError, TimeoutError):
            return Part("unknown", detail="redis cannot be asked")
        detail = f"{depth.waiting} waiting, oldest {depth.age_s:.0f} s, {depth.dead} dead, {depth.unindexed} unindexed"
        return Part("ok" if depth.dead == 0 else "degraded", detail=detail)

    async def _postgres(self, database: Callable[[], Awaitable[Part]]) -> Part:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await database()
        except (RouterError, TimeoutError):
            return Part("unknown", detail="redis cannot be asked")

    def _snapshot(self) -> Part:
        cache = self.posteriors
        if cache.snapshot is None or cache.age_s is None:
            return Part("down", detail="nothing has been read of what was learned")
        status = "degraded" if cache.stale or cache.refused else "ok"
        detail = f"read {cache.age_s:.1f} s ago" + ("; the latest was refused as corrupt" if cache.refused else "")
        return Part(status, version=cache.snapshot.version, detail=detail)

    def _exploration(self) -> dict[str, Any]:
        budget = self.exploration
        return {"on": budget.left, "spent_usd": round(budget.spent_usd, 9), "budget_usd": budget.budget_usd}

    def _background(self) -> Part:
        trouble = self.supervisor.trouble()
        return Part("degraded" if trouble else "ok", detail="; ".join(trouble) or None)

    def _prices(self) -> Part:
        """Return which models' costs cannot be counted: degraded where a budget promises to."""
        catalogue = self.catalogue
        uncounted, prices = catalogue.uncounted, catalogue.prices
        if not uncounted:
            return Part("ok")
        names = ", ".join(uncounted[:MAX_NAMED]) + (" and others" if len(uncounted) > MAX_NAMED else "")
        detail = f"no price is known of {names}: {', '.join(prices.users)} cannot count; set MODEL_PRICES"
        return Part("degraded" if prices.budgets else "ok", detail=detail)

    def _recorder(self) -> Part:
        waiting = self.record_writer.spooled
        if self.record_writer.losing:
            return Part("down", detail=f"neither Redis nor the disk takes records: {waiting} wait")
        if waiting or self.record_writer.redis_away:
            return Part("degraded", detail=f"{waiting} records wait for Redis")
        return Part("ok")


def _part_of(found: Part | BaseException) -> Part:
    """Return a part as it was found; one that answers what cannot be read is down, and the report goes on."""
    if isinstance(found, Part):
        return found
    if not isinstance(found, Exception):
        raise found
    return Part("down", detail="its answer cannot be read")
