"""Composition root: builds a gateway's parts from settings and adapters, and the aiohttp application around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from aiohttp import web

from services.gateway.adapters import Adapters
from services.gateway.chat.chat_metrics import ChatMetrics
from services.gateway.chat.context import HICCUP_S, ContextGatherer, ContextLimits
from services.gateway.chat.conversations import Conversations
from services.gateway.chat.embeddings import Embeddings
from services.gateway.chat.fallback import UpstreamCaller
from services.gateway.chat.recording import ChatRecorder
from services.gateway.chat.reservations import Reservations
from services.gateway.chat.route_chat import RouteChat
from services.gateway.chat.selection import Selector
from services.gateway.dashboard.files import read_files
from services.gateway.evaluation.evaluations import Evaluations, build_evaluations
from services.gateway.feedback.record_feedback import FeedbackRecorder
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http import app_keys as keys
from services.gateway.http.chat_handler import ChatHandler
from services.gateway.http.middlewares import build_middleware
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.http.routes import all_routes
from services.gateway.limits.admission import Admission, BodyBytes
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import Quotas, build_quotas
from services.gateway.limits.retry_budget import RetryBudget
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.catalogue_settings import build_catalogue
from services.gateway.models.models_reload import ModelsReload
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels, SharedFreeArms
from services.gateway.process.background_loops import BackgroundLoops
from services.gateway.process.gossip import Gossip, name_of
from services.gateway.process.health import Health, Readiness
from services.gateway.process.metrics_view import MetricsView, seed
from services.gateway.process.past_posteriors import PastPosteriors
from services.gateway.process.settings_check import check_settings
from services.gateway.process.traffic_view import TrafficView
from services.gateway.process.version import VERSION
from services.gateway.records.record_writer import RecordWriter
from services.gateway.records.spool import Spool
from shared.bandit.build import build_policy
from shared.metrics import GatewayMetrics, ProcessMetrics, new_registry
from shared.models_file import ModelsFile
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.supervision import Supervisor
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.settings import Settings
from shared.traffic import Traffic

LOAD_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Gateway:
    """The parts of one gateway. Only this module and tests know it: every part gets what it needs by its arguments."""

    catalogue: Catalogue
    models_reload: ModelsReload
    runtime_models: RuntimeModels
    free_arms: SharedFreeArms
    posteriors: PosteriorCache
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    exploration: ExplorationBudget
    evaluations: Evaluations | None
    admission: Admission
    quotas: Quotas
    retry_budget: RetryBudget
    record_writer: RecordWriter
    gossip: Gossip
    context_gatherer: ContextGatherer
    reservations: Reservations
    selector: Selector
    chat: RouteChat
    feedback: FeedbackRecorder
    supervisor: Supervisor


def build_app(settings: Settings, adapters: Adapters, file: ModelsFile) -> web.Application:
    """Return the application; its background loops run from start-up to clean-up."""
    registry = new_registry("gateway")
    metrics = GatewayMetrics(registry)
    seed(metrics)
    gateway = build_gateway(settings, adapters, metrics, Supervisor(ProcessMetrics(registry).restarts), file)
    readiness = Readiness()
    body_bytes = BodyBytes(settings.MAX_BYTES_IN_WORK, metrics)
    lifecycle = RequestLifecycle(settings, metrics, adapters.tracer, admission=gateway.admission, body_bytes=body_bytes)
    app = web.Application(middlewares=[build_middleware(lifecycle)])
    app[keys.REQUEST_LIFECYCLE] = lifecycle
    app[keys.BODY_BYTES] = body_bytes
    app[keys.SETTINGS] = settings
    app[keys.REGISTRY] = registry
    app[keys.READINESS] = readiness
    app[keys.SUPERVISOR] = gateway.supervisor
    app[keys.LINKS] = SignedLinks(settings.FEEDBACK_LINK_SECRET)
    app[keys.CHAT] = ChatHandler(
        gateway.chat,
        app[keys.LINKS],
        body_bytes,
        adapters.clock,
        forward_control=any(upstream.api_key is None for upstream in file.upstreams.values()),
        forward_session=any(upstream.is_openrouter for upstream in file.upstreams.values()),
    )
    app[keys.EMBEDDINGS] = build_embeddings(settings, adapters, gateway)
    app[keys.SELECTOR] = gateway.selector
    app[keys.FEEDBACK] = gateway.feedback
    app[keys.CATALOGUE] = gateway.catalogue
    app[keys.MODELS_RELOAD] = gateway.models_reload
    app[keys.RUNTIME_MODELS] = gateway.runtime_models
    app[keys.POSTERIORS] = gateway.posteriors
    app[keys.LEARNED_LIMITS] = gateway.learned_limits
    app[keys.REQUEST_LOG] = adapters.log
    app[keys.REQUEST_LIST] = adapters.request_list
    app[keys.TRAFFIC] = TrafficView(adapters.traffic, adapters.clock)
    app[keys.PAST_POSTERIORS] = past = PastPosteriors(adapters.posterior_history, gateway.posteriors, adapters.clock)
    app[keys.QUOTAS] = gateway.quotas
    app[keys.EVENT_QUEUE] = adapters.queue
    app[keys.PROMPTS] = adapters.prompts
    app[keys.HEALTH] = build_health(gateway, adapters, readiness)
    app[keys.METRICS_VIEW] = MetricsView(
        metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, settings.bandit().weights
    )
    app.cleanup_ctx.append(build_loops(gateway, adapters.traffic, past).run)
    if settings.DASHBOARD:
        app[keys.DASHBOARD] = read_files()
    app.router.add_routes(all_routes(with_dashboard=settings.DASHBOARD))
    return app


def build_admission(settings: Settings, adapters: Adapters, metrics: GatewayMetrics) -> Admission:
    """Return the limits on concurrent requests. A decision should take a quarter of its time-outs together."""
    limit = settings.MAX_CONCURRENT_REQUESTS
    several = len(settings.API_KEYS) + len(settings.ADMIN_API_KEYS) > 1
    per_key = settings.MAX_CONCURRENT_PER_KEY or (max(1, limit // 2) if several else 0)
    decide_s = (settings.EMBED_TIMEOUT_MS + settings.SEARCH_TIMEOUT_MS) / 4000
    return Admission(limit=limit, per_key=per_key, decide_s=decide_s, clock=adapters.clock, metrics=metrics)


def build_gateway(
    settings: Settings, adapters: Adapters, metrics: GatewayMetrics, supervisor: Supervisor, file: ModelsFile
) -> Gateway:
    """Return the parts of a gateway, from the lowest room to the use cases."""
    clock, redis_s = adapters.clock, settings.REDIS_TIMEOUT_MS / 1000
    catalogue = build_catalogue(settings, file, adapters.upstreams, clock)
    breakers = CircuitBreakers(clock, lambda arm: catalogue.arm(arm).costs_money, catalogue.upstream_of)
    learned_limits, quotas = LearnedLimits(clock), build_quotas(settings, clock)
    exploration = _exploration(settings, adapters, metrics)
    posteriors = _posteriors(settings, adapters, catalogue, metrics)
    evaluations = build_evaluations(
        settings, adapters.evaluations, posteriors, catalogue=catalogue, circuit_breakers=breakers,
        clock=clock, metrics=metrics,
    )  # fmt: skip
    spool = Spool(settings.SPOOL_DIR, max_bytes=settings.SPOOL_MAX_BYTES)
    writer = RecordWriter(adapters.log, adapters.queue, spool, timeout_s=redis_s, clock=clock, metrics=metrics)
    name = name_of(settings.PORT)
    gossip = Gossip(
        adapters.heartbeats, writer, breakers, learned_limits, name=name, clock=clock, timeout_s=LOAD_TIMEOUT_S
    )
    gatherer = ContextGatherer(adapters.embedder, adapters.index, _limits(settings), clock=clock, metrics=metrics)
    redis_breaker = CircuitBreaker(clock, hiccup_s=HICCUP_S)
    reservations = Reservations(
        adapters.log, redis_breaker, quotas, supervisor, clock=clock, metrics=metrics, timeout_s=redis_s
    )
    selector = Selector(
        catalogue=catalogue, policies=lambda: catalogue.policies, posteriors=posteriors, context_gatherer=gatherer,
        conversations=Conversations(adapters.log, redis_breaker, timeout_s=redis_s), learned_limits=learned_limits,
        circuit_breakers=breakers, exploration=exploration, metrics=metrics, clock=clock, rng=np.random.default_rng(),
        request_timeout_s=settings.REQUEST_TIMEOUT_S, session_margin=settings.SESSION_MARGIN,
        min_confidence=settings.MIN_CONFIDENCE_SCORE, shadow_mode=settings.SHADOW_MODE,
        control_share=settings.CONTROL_SHARE,
    )  # fmt: skip
    chat_metrics, retry_budget = ChatMetrics(metrics, catalogue, posteriors), RetryBudget(settings.RETRY_BUDGET)
    admission = build_admission(settings, adapters, metrics)
    caller = UpstreamCaller(
        circuit_breakers=breakers, learned_limits=learned_limits, retry_budget=retry_budget, catalogue=catalogue,
        metrics=chat_metrics, clock=clock, retry_ambiguous=settings.RETRY_AMBIGUOUS,
    )  # fmt: skip
    recorder = ChatRecorder(
        record_writer=writer, catalogue=catalogue, circuit_breakers=breakers, learned_limits=learned_limits,
        quotas=quotas, exploration=exploration, metrics=chat_metrics, settings_hash=settings.decisive_hash(),
        prompt_chars=settings.prompt_chars,
    )  # fmt: skip
    reload = ModelsReload(settings, check_settings, catalogue=catalogue, upstreams=adapters.upstreams, metrics=metrics)
    return Gateway(
        catalogue=catalogue, models_reload=reload,
        runtime_models=RuntimeModels(adapters.arm_changes, catalogue, metrics=metrics, timeout_s=LOAD_TIMEOUT_S),
        free_arms=SharedFreeArms(catalogue, adapters.free_arms, timeout_s=LOAD_TIMEOUT_S),
        posteriors=posteriors, circuit_breakers=breakers, learned_limits=learned_limits, exploration=exploration,
        evaluations=evaluations, quotas=quotas, retry_budget=retry_budget, record_writer=writer, gossip=gossip,
        context_gatherer=gatherer, reservations=reservations, selector=selector, supervisor=supervisor,
        admission=admission,
        chat=RouteChat(
            selector, reservations, caller, recorder, adapters.upstreams, quotas=quotas, record_writer=writer,
            clock=clock, metrics=metrics, request_timeout_s=settings.REQUEST_TIMEOUT_S, evaluations=evaluations,
            deciding=admission.deciding,
        ),
        feedback=FeedbackRecorder(adapters.log, writer, gossip.in_doubt, clock=clock, metrics=metrics),
    )  # fmt: skip


def _exploration(settings: Settings, adapters: Adapters, metrics: GatewayMetrics) -> ExplorationBudget:
    budget_usd = settings.EXPLORATION_BUDGET_USD
    return ExplorationBudget(adapters.log, budget_usd=budget_usd, clock=adapters.clock, metrics=metrics)


def _posteriors(
    settings: Settings, adapters: Adapters, catalogue: Catalogue, metrics: GatewayMetrics
) -> PosteriorCache:
    return PosteriorCache(
        adapters.store,
        catalogue,
        build_policy,
        settings.bandit(),
        clock=adapters.clock,
        metrics=metrics,
        load_timeout_s=LOAD_TIMEOUT_S,
    )


def _limits(settings: Settings) -> ContextLimits:
    return ContextLimits(
        embed_timeout_s=settings.EMBED_TIMEOUT_MS / 1000,
        search_timeout_s=settings.SEARCH_TIMEOUT_MS / 1000,
        neighbours=settings.MAX_SIMILAR_REQUESTS,
        threshold=settings.SIMILARITY_THRESHOLD,
        recency_s=settings.RECENCY_DAYS * 86_400,
        max_chars=settings.EMBED_MAX_CHARS,
    )


def build_embeddings(settings: Settings, adapters: Adapters, gateway: Gateway) -> Embeddings:
    """Return the use case of embedding requests, which shares circuits and quotas with chat."""
    caller = gateway.chat.caller
    return Embeddings(
        gateway.catalogue, gateway.reservations, caller, adapters.upstreams, quotas=gateway.quotas,
        metrics=caller.metrics, clock=adapters.clock, request_timeout_s=settings.REQUEST_TIMEOUT_S,
    )  # fmt: skip


def build_loops(gateway: Gateway, traffic: Traffic, past_posteriors: PastPosteriors) -> BackgroundLoops:
    """Return the background loops."""
    return BackgroundLoops(
        gateway.supervisor,
        record_writer=gateway.record_writer,
        reservations=gateway.reservations,
        gossip=gateway.gossip,
        catalogue=gateway.catalogue,
        models_reload=gateway.models_reload,
        runtime_models=gateway.runtime_models,
        free_arms=gateway.free_arms,
        posteriors=gateway.posteriors,
        context_gatherer=gateway.context_gatherer,
        exploration=gateway.exploration,
        traffic=traffic,
        past_posteriors=past_posteriors,
        evaluations=None if gateway.evaluations is None else gateway.evaluations.submitter,
    )


def build_health(gateway: Gateway, adapters: Adapters, readiness: Readiness) -> Health:
    """Return what `/health` and `/ready` report."""

    async def embedder() -> str:
        await adapters.embedder.embed(["health"])  # the model's name may be cached, and says nothing of the embedder
        return (await adapters.embedder.model()).id

    return Health(
        readiness,
        catalogue=gateway.catalogue,
        models_reload=gateway.models_reload,
        runtime_models=gateway.runtime_models,
        posteriors=gateway.posteriors,
        context_gatherer=gateway.context_gatherer,
        record_writer=gateway.record_writer,
        gossip=gateway.gossip,
        circuit_breakers=gateway.circuit_breakers,
        learned_limits=gateway.learned_limits,
        exploration=gateway.exploration,
        evaluations=None if gateway.evaluations is None else gateway.evaluations.submitter,
        supervisor=gateway.supervisor,
        clock=adapters.clock,
        probes={"redis": adapters.redis_version, "qdrant": adapters.index.ping, "embedder": embedder},
        queue=adapters.queue,
        heartbeats=adapters.heartbeats,
        version=VERSION,
        database=None if adapters.database is None else adapters.database.part,
    )
