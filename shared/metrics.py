"""Every metric: name, unit, labels, in one place. Labels are bounded: unknown values become `other`.

A process makes one `CollectorRegistry` and the metric set of its service; nothing is registered at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from shared import __version__
from shared.standard_streams import lines_dropped

PREFIX = "llm_router"
SHORT_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.035, 0.06, 0.1, 0.25, 1.0)
LONG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
COST_USD = (0.0, 0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
TOKENS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


def new_registry(service: str) -> CollectorRegistry:
    """Return the registry of a process, with what Python says of itself and `llm_router_build_info`."""
    registry = CollectorRegistry()
    for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
        registry.register(collector)
    build = Gauge(f"{PREFIX}_build_info", "1, with service and version", ("service", "version"), registry=registry)
    build.labels(service, __version__).set(1)
    return registry


class _Cached(MetricWrapperBase):
    """Caches children by label values, which takes a third of the library's time. Not for metrics that are cleared."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cache: dict[tuple[object, ...], Self] = {}

    def labels(self, *values: object, **named: object) -> Self:
        """Return the child with these labels, by position or by name."""
        if named:
            return super().labels(*values, **named)
        child = self._cache.get(values)
        if child is None:
            child = self._cache[values] = super().labels(*values)
        return child


class _Counter(_Cached, Counter):
    """Counter whose children are cached."""


class _Histogram(_Cached, Histogram):
    """Histogram whose children are cached."""


class _LogLinesDropped(Counter):
    """Counter of the lines that the writer of standard error has dropped; the writer knows no metrics."""

    _shown = 0

    def collect(self) -> Iterable[Metric]:
        """Return the current count."""
        dropped = lines_dropped()
        self.inc(dropped - self._shown)
        self._shown = dropped
        return super().collect()


class ProcessMetrics:
    """What each of the three services counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.log_lines_dropped = _LogLinesDropped(
            f"{PREFIX}_log_lines_dropped_total", "Log lines that could not be written", registry=registry
        )
        self.restarts = Counter(
            f"{PREFIX}_background_restarts_total",
            "Restarts of background loops, failed background tasks",
            ("loop",),
            registry=registry,
        )


class GatewayMetrics:
    """What the gateway counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return _Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return _Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry)

        self.requests = counter("requests_total", "HTTP requests by matched route and status", "route", "status")
        self.decisions = counter("decisions_total", "Chat requests by arm that answered and kind", "arm", "kind")
        self.outcomes = counter("outcomes_total", "Chat requests by outcome", "status")
        self.fallbacks = counter("upstream_errors_total", "Failed upstream calls", "arm", "upstream", "error")
        self.unread_events = counter("unread_events_total", "Unreadable events of streams that were dropped", "reason")
        self.retries_refused = counter("retries_refused_total", "Second attempts refused by RETRY_BUDGET")
        self.degraded = counter("degraded_decisions_total", "Decisions without a dependency", "dependency")
        self.sessions = counter("session_decisions_total", "Decisions in conversations: model held, or drawn", "choice")
        self.unexplored = counter("unexplored_decisions_total", "Decisions without exploration, by reason", "reason")
        self.explored = gauge("exploration_spent_usd", "Cost today of responses that only exploration chose")
        self.shadow = counter(
            "shadow_decisions_total", "In shadow mode: whether the served model was also chosen", "agrees"
        )
        self.feedback = counter("feedback_total", "Ratings by verdict", "verdict")
        self.cost = counter("cost_usd_total", "Cost of responses, USD", "arm")
        self.unknown_cost = counter("unknown_cost_total", "Responses and failed calls of unknown cost", "arm")
        self.tokens = counter("tokens_total", "Tokens by direction", "arm", "direction")
        self.answer_cost = histogram("answer_cost_usd", "Cost of one response, USD", COST_USD)
        self.answer_tokens = histogram("answer_tokens", "Tokens of one response by direction", TOKENS, "direction")
        self.weighed = counter("weighed_decisions_total", "Decisions between models")
        self.explored_decisions = counter(
            "explored_decisions_total", "Decisions for an arm that only the draw put first"
        )
        self.gain = counter("gain_utility_estimated_total", "Expected utility above the best fixed model, summed")
        self.loss = counter("loss_utility_estimated_total", "Expected utility below the best fixed model, summed")
        self.regret = counter("regret_utility_estimated_total", "Expected utility below the best choice, summed")
        self.overhead = histogram("overhead_seconds", "The router's own time before it calls the upstream", SHORT_S)
        self.upstream = histogram("upstream_seconds", "Upstream time of a response", LONG_S, "arm", "upstream")
        self.first_token = histogram("first_token_seconds", "Upstream time to first token of a stream", LONG_S, "arm")
        self.embed = histogram("embed_seconds", "Time for the prompt's vector", SHORT_S)
        self.search = histogram("search_seconds", "Time for the neighbours", SHORT_S)
        self.decide = histogram("decide_seconds", "Time for the policy", SHORT_S)
        self.in_flight = gauge("in_flight_requests", "Chat requests being served")
        self.bytes_in_work = gauge("bytes_in_work", "Bytes of request bodies in memory")
        self.concurrency_limit = gauge("concurrency_limit", "Limit on concurrent chat requests")
        self.refused = counter("refused_requests_total", "Chat requests refused at a limit", "limit")
        self.dependency = gauge("dependency_up", "1 if it responds: embedder, qdrant, redis, ...", "dependency")
        self.arm_ratings = gauge("arm_ratings", "Ratings behind the estimates, weighted by age", "arm")
        self.arm_answers = gauge("arm_answers", "Responses behind the estimates, weighted by age", "arm")
        self.arm_quality = gauge("arm_quality_estimated", "Expected score over all traffic", "arm")
        self.arm_utility = gauge("arm_utility_estimated", "Expected utility over all traffic", "arm")
        self.arm_cooling = gauge("arm_cooling", "1 while the circuit of a model is open", "arm")
        self.snapshot_age = gauge("snapshot_age_seconds", "Time since the learned state was last read")
        self.snapshot_refused = counter("snapshots_refused_total", "Learned states that failed validation")
        self.upstream_up = gauge("upstream_up", "1 unless its models are unknown", "upstream")
        self.models_file_refused = gauge("models_file_refused", "1 while MODELS_FILE is not valid, and not used")
        self.spooled = gauge("spooled_records", "Records waiting for Redis, on disk or in memory")
        self.records_lost = counter("records_lost_total", "Records that neither Redis nor the disk accepted")
        self._add_evidence(counter, gauge)

    def _add_evidence(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        self.failed_checks = counter("failed_checks_total", "Answers that failed a check", "arm", "check")
        self.implicit_signals = counter(
            "implicit_signals_total", "Streams that the client left, prompts asked again", "arm", "signal"
        )
        self.source_scores = gauge("source_scores", "Scores of a source, weighted by weight and age", "source")
        self.source_shift = gauge("source_shift_estimated", "How much higher than users a source scores", "source")
        self.source_bias = gauge("source_bias_sd_estimated", "Typical difference to users by model", "source")
        self.lift_measured = gauge(
            "lift_utility_measured", "Utility of routed requests above the control group: mean, low, high", "bound"
        )
        self.lift_requests = gauge("lift_requests", "Answers behind the measured lift, weighted by age", "group")
        self.lift_net = gauge("lift_net_utility_measured", "What routing has gained, less the cost of evaluations")
        self.requests_left = gauge("requests_until_paid_back", "Routed requests until that is positive; +Inf: never")
        self.evaluation_requests = counter(
            "evaluation_requests_total", "Requests that were submitted for evaluation, or why not", "result"
        )
        self.evaluation_spent = gauge("evaluation_spent_usd", "Cost today of evaluations, with reservations")


class EmbedderMetrics:
    """What the embedder counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.texts = _Counter(f"{PREFIX}_embedder_texts_total", "Texts embedded", ("source",), registry=registry)
        self.batch = _Histogram(
            f"{PREFIX}_embedder_batch_texts", "Texts in one forward pass", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )  # fmt: skip
        self.seconds = _Histogram(
            f"{PREFIX}_embedder_batch_seconds", "Time of one forward pass", buckets=SHORT_S, registry=registry
        )
        self.queued = Gauge(f"{PREFIX}_embedder_queued_texts", "Texts waiting for a forward pass", registry=registry)
        self.refused = _Counter(
            f"{PREFIX}_embedder_refused_total", "Requests refused at the limit, or as too late", registry=registry
        )


class LearnerMetrics:
    """What the learner counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            f"{PREFIX}_events_total", "Events by kind and result", ("kind", "result"), registry=registry
        )
        self.waiting = Gauge(f"{PREFIX}_events_waiting", "Events in the stream", registry=registry)
        self.age = Gauge(f"{PREFIX}_oldest_event_seconds", "Age of the oldest event", registry=registry)
        self.dead = Gauge(f"{PREFIX}_dead_letters", "Events that could not be applied", registry=registry)
        self.unindexed = Gauge(f"{PREFIX}_unindexed_requests", "Requests whose point is out of date", registry=registry)
        self.history_rows = Counter(
            f"{PREFIX}_history_rows_total",
            "Requests and ratings by result",
            ("result",),
            registry=registry,
        )
        self.history_waiting = Gauge(
            f"{PREFIX}_history_waiting", "Entries that are not in the database yet", registry=registry
        )
        self.history_bytes = Gauge(
            f"{PREFIX}_history_waiting_bytes", "Bytes of these entries in Redis", registry=registry
        )
        self.redis_used = Gauge(f"{PREFIX}_redis_used_bytes", "Memory that Redis uses", registry=registry)
        self.redis_most = Gauge(
            f"{PREFIX}_redis_max_bytes", "Memory that Redis may use; 0: no limit", registry=registry
        )
        self.history_age = Gauge(
            f"{PREFIX}_history_oldest_seconds", "Age of the oldest of these entries", registry=registry
        )
        self.history_dropped = Gauge(
            f"{PREFIX}_history_dropped", "Entries dropped because the outbox was full", registry=registry
        )
        self.cluster_epoch = Gauge(f"{PREFIX}_cluster_epoch", "Generation of the kinds of prompt", registry=registry)
        self.kinds = Gauge(f"{PREFIX}_kinds", "Kinds of prompt", registry=registry)
        self.batch_seconds = Histogram(
            f"{PREFIX}_learn_batch_seconds", "Time to apply one batch of events", buckets=SHORT_S, registry=registry
        )
        self.evaluations = Counter(
            f"{PREFIX}_evaluations_total", "Evaluations of requests by result", ("result",), registry=registry
        )
        self.evaluation_seconds = Histogram(
            f"{PREFIX}_evaluation_seconds", "Time of an evaluation: models and judge", buckets=LONG_S, registry=registry
        )
        self.evaluation_cost = Counter(
            f"{PREFIX}_evaluation_cost_usd_total",
            "Cost of evaluations, USD: answers beside the user's path, and judge",
            ("role",),
            registry=registry,
        )
        self.evaluation_errors = Counter(
            f"{PREFIX}_evaluation_errors_total", "Calls without a result", ("role", "error"), registry=registry
        )
        self.evaluations_waiting = Gauge(
            f"{PREFIX}_evaluations_waiting", "Evaluations that are not finished", registry=registry
        )
        self.evaluation_age = Gauge(
            f"{PREFIX}_oldest_evaluation_seconds", "Age of the oldest of these", registry=registry
        )
