"""What the gateways have put on its way goes to the history, in batches; PostgreSQL away costs only delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.errors import CorruptState, DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, History, Outbox, PosteriorStore
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.history import Waiting

BATCH = 500
_CENTROIDS_EVERY_S = 30.0
_WORK_S = 4.0
"""One step works at most this long; the next goes on."""

_log = get_logger(__name__)


class Historian:
    """Empties the outbox. Entries leave it when their rows are committed, so that a crash repeats and loses nothing.

    Several learners may do the same at once: rows that are there already are left alone.
    """

    def __init__(
        self,
        outbox: Outbox,
        history: History,
        posteriors: PosteriorStore,
        settings_hash: str,
        settings: Mapping[str, object],
        *,
        clock: Clock,
        metrics: LearnerMetrics,
    ) -> None:
        self._outbox = outbox
        self._history = history
        self._posteriors = posteriors
        self._settings = (settings_hash, settings)
        self._clock = clock
        self._metrics = metrics
        self._prepared = False
        self._epoch: int | None = None
        self._looked_at = -1e9
        self._breaker = CircuitBreaker(clock, threshold=1, rest_s=1.0, max_rest_s=5.0)
        self.stopping = False
        self.trouble = ""  # what the last attempt has met, in bounded words

    async def step(self) -> int:
        """Write what waits; return how many entries were dealt with. Never raises DependencyError."""
        if not self._breaker.allows():
            return 0
        try:
            done = await self._write_waiting()
            await self._keep_centroids()
        except DependencyError as error:
            if not self._breaker.open:
                _log.warning("history waits", reason=str(error))
            self._breaker.failed()
            self.trouble = (error.reason or "it does not answer") if error.dependency == "postgres" else ""
            self._prepared = False  # whoever comes back may have forgotten the tables
            return 0
        if self._breaker.open:
            _log.info("history goes on")
        self._breaker.succeeded()
        self.trouble = ""
        return done

    async def _write_waiting(self) -> int:
        if not self._prepared:
            await self._history.prepare()
            await self._history.save_settings(*self._settings)
            self._prepared = True
        done, until = 0, self._clock.monotonic() + _WORK_S
        while not self.stopping and self._clock.monotonic() < until:
            entries = await self._outbox.read(BATCH)
            if not entries:
                break
            await self._write(entries)
            done += len(entries)
        return done

    async def _write(self, entries: Sequence[Waiting]) -> None:
        empty = [entry for entry in entries if entry.empty]
        refused = await self._history.write([entry for entry in entries if not entry.empty])
        await self._outbox.done(entries)
        for result, gaps in (("refused", refused), ("lost", empty)):
            if gaps:
                _log.error("the history has a gap", reason=result, entries=len(gaps), request=gaps[0].request_id)
        counts = {"written": len(entries) - len(empty) - len(refused), "refused": len(refused), "lost": len(empty)}
        for result, count in counts.items():
            self._metrics.history_rows.labels(result=result).inc(count)

    async def _keep_centroids(self) -> None:
        """Keep each epoch of the clusters: the sums by cluster mean nothing without them."""
        if self._clock.monotonic() - self._looked_at < _CENTROIDS_EVERY_S:
            return
        try:
            centroids = (await self._posteriors.load()).centroids
        except CorruptState:
            return  # the gateways raise the alarm
        if centroids is not None and centroids.epoch != self._epoch:
            await self._history.save_centroids(centroids)
            self._epoch = centroids.epoch
        self._looked_at = self._clock.monotonic()
