"""History writer: moves entries from the outbox in Redis to PostgreSQL, in batches. A failure only delays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.errors import CorruptState, DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, History, KindStore, Outbox
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.history import Waiting

BATCH = 500
_KINDS_EVERY_S = 300.0
"""How often the kinds of prompt are saved: a rebuild assigns what came after it again, about 80 us a request."""

_WORK_S = 4.0
"""Longest run of one step; the next step continues."""

_log = get_logger(__name__)


class HistoryWriter:
    """Writer from the outbox to the history. Entries are acknowledged after the commit: a crash loses nothing.

    Several learners may write concurrently: inserts of existing rows do nothing.
    """

    def __init__(
        self,
        outbox: Outbox,
        history: History,
        kinds: KindStore,
        settings_hash: str,
        settings: Mapping[str, object],
        *,
        clock: Clock,
        metrics: LearnerMetrics,
    ) -> None:
        self._outbox = outbox
        self._history = history
        self._kinds = kinds
        self._settings = (settings_hash, settings)
        self._clock = clock
        self._metrics = metrics
        self._prepared = False
        self._kinds_order: int | None = None
        self._kinds_saved_at = -1e9
        self._breaker = CircuitBreaker(clock, threshold=1, first_cooldown_s=1.0, max_cooldown_s=5.0)
        self.stopping = False
        self.trouble = ""  # reason of the last failure, from a bounded set of texts

    async def step(self) -> int:
        """Write waiting entries; return how many were processed. Never raises DependencyError."""
        if not self._breaker.allows():
            return 0
        try:
            done = await self._write_waiting()
            await self._keep_kinds()
        except DependencyError as error:
            if not self._breaker.open:
                _log.warning("history waits", reason=str(error))
            self._breaker.failed()
            self.trouble = (error.reason or "it does not answer") if error.dependency == "postgres" else ""
            self._prepared = False  # a restored database may lack the tables
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

    async def _keep_kinds(self) -> None:
        """Save a snapshot of the kinds now and then, if requests were assigned since the last one."""
        if self._clock.monotonic() - self._kinds_saved_at < _KINDS_EVERY_S:
            return
        try:
            kinds = await self._kinds.load()
        except CorruptState:
            return  # the gateways report it
        if kinds is None:
            return
        if kinds.order != self._kinds_order:
            await self._history.save_kinds(kinds)
            self._kinds_order = kinds.order
        self._kinds_saved_at = self._clock.monotonic()
