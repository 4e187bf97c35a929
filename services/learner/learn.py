"""From events to sums: load what each event speaks of, turn it into integers, apply, and deal with what cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shared.bandit.learning import failure_sums, feedback_sums, outcome_sums
from shared.bandit.sums import by_arm, parse_sums
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, EventQueue, PosteriorStore, RequestLog
from shared.schemas.events import EVENT_VERSION, Event, EventKind
from shared.schemas.records import Lesson, Status
from shared.schemas.storage import Applied, Effect, LoggedRequest

BATCH = 256
"""Events that are read at once; large enough that the trips do not count, small enough to be done in a blink."""

SIDE_BY_SIDE = 2
"""Batches under way while a backlog is drained: Redis works on one while the other is computed."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RedeliveryPolicy:
    """When an event that cannot be applied goes to the dead letters.

    Attributes:
        idle_s: an event handed out this long ago and not acknowledged is taken over: its learner is gone or stuck.
        deliveries: a poison event is buried when it has been handed out this often.
        missing_s: an event whose record has not been written (it may wait in a gateway's spool) is kept this long. The
            record, when it comes, brings its events along again.
        foreign_s: an event of a version that we do not know is kept this long for a newer learner.
        drain_s: one drain or sweep works at most this long, so that a job stays below arq's time limit.
    """

    idle_s: float = 30.0
    deliveries: int = 5
    missing_s: float = 3600.0
    foreign_s: float = 7 * 86_400.0
    drain_s: float = 4.0


def effect_of(event: Event, request: LoggedRequest) -> Effect:
    """Return what `event` adds to the sums of the arm that answered, and of those that failed before it.

    Raises:
        CorruptState: readers would refuse sums with this in them.
        ValueError, OverflowError: a figure of the record is not finite.
    """
    record = request.record
    sums = _rating(event, record) if event.kind is EventKind.FEEDBACK else _outcome(record)
    for part in by_arm(record.outcome.arm, sums).values():
        parse_sums({name: str(value) for name, value in part.items()})
    return Effect(event=event, arm=record.outcome.arm, created_at=record.created_at, sums=sums)


def _outcome(record: Lesson) -> dict[str, int]:
    outcome = record.outcome
    sums = failure_sums((attempt.arm for attempt in outcome.attempts if attempt.blames_arm), outcome.arm)
    if outcome.status is Status.ANSWERED:  # time and cost of half an answer are not an answer's
        sums |= outcome_sums(
            cost_usd=outcome.cost_usd,
            latency_s=outcome.upstream_s,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
            cluster=record.decision.cluster,
        )
    return sums


def _rating(event: Event, record: Lesson) -> dict[str, int]:
    if event.score is None or not 0.0 <= event.score <= 1.0:
        raise ValueError("the event's score is not between 0 and 1")
    if not record.rateable:
        return {}  # rated before it was known that it would fail
    view = record.decision.view(record.outcome.arm)
    return feedback_sums(score=event.score, view=view, cluster=record.decision.cluster)


def _readable(event: Event) -> bool:
    return event.version == EVENT_VERSION and event.kind is not EventKind.UNKNOWN


class EventLearner:
    """Drains the stream under one consumer name. One call of `drain` or `sweep` at a time."""

    def __init__(
        self,
        consumer: str,
        *,
        queue: EventQueue,
        log: RequestLog,
        posteriors: PosteriorStore,
        clock: Clock,
        metrics: LearnerMetrics,
        patience: RedeliveryPolicy | None = None,
    ) -> None:
        self._consumer = consumer
        self._queue = queue
        self._log = log
        self._posteriors = posteriors
        self._clock = clock
        self._metrics = metrics
        self._patience = patience or RedeliveryPolicy()
        self._unfinished: list[list[Event]] = []
        self.stopping = False

    async def drain(self) -> int:
        """Apply new events until there are none; return how many there were.

        In a backlog the order of batches is left open, as it is between two learners: it changes nothing.
        """
        until, total = self._clock.monotonic() + self._patience.drain_s, 0
        # What a failure of Redis interrupted comes first: as far as Redis knows it is still in our hands.
        for events in self._unfinished.copy():
            total += await self._finish(events)
        total += (first := await self._batch(until))
        if first == BATCH:
            total += await self._catch_up(until)
        return total

    async def _catch_up(self, until: float) -> int:
        numbers = await asyncio.gather(*(self._lane(until) for _ in range(SIDE_BY_SIDE)), return_exceptions=True)
        for number in numbers:
            if isinstance(number, BaseException):
                raise number
        return sum(number for number in numbers if isinstance(number, int))

    async def _lane(self, until: float) -> int:
        """Apply batches until one is not full."""
        total, number = 0, BATCH
        while number == BATCH:
            number = await self._batch(until)
            total += number
        return total

    async def _batch(self, until: float) -> int:
        """Apply one batch of new events; return how many it had, 0 where it is time to stop."""
        if self.stopping or self._clock.monotonic() >= until:
            return 0
        events = await self._queue.read(self._consumer, BATCH)
        self._unfinished.append(events)
        return await self._finish(events)

    async def _finish(self, events: list[Event]) -> int:
        await self.learn(events)
        self._unfinished.remove(events)
        return len(events)

    async def sweep(self) -> int:
        """Take over events that others, or we ourselves, have left; return how many."""
        until, total = self._clock.monotonic() + self._patience.drain_s, 0
        while not self.stopping and self._clock.monotonic() < until:
            events = await self._queue.claim(self._consumer, idle_s=self._patience.idle_s, limit=BATCH)
            await self.learn(events)
            total += len(events)
            if len(events) < BATCH:
                break
        return total

    async def learn(self, events: Sequence[Event]) -> None:
        """Apply one batch; what cannot be applied stays in the stream, or is buried when patience ends."""
        if not events:
            return
        began = self._clock.monotonic()
        ours = [event for event in events if _readable(event)]
        for event in events:
            if not _readable(event):
                await self._foreign(event)
        requests = await self._log.load([event.request_id for event in ours])
        effects: list[Effect] = []
        for event, request in zip(ours, requests, strict=True):
            effect = await self._effect(event, request)
            if effect is not None:
                effects.append(effect)
        for effect, answer in zip(effects, await self._posteriors.apply(effects), strict=True):
            await self._answered(effect.event, answer)
        self._metrics.batch_seconds.observe(self._clock.monotonic() - began)

    async def _effect(self, event: Event, request: LoggedRequest | None) -> Effect | None:
        if request is None:
            await self._missing(event)
            return None
        try:
            return effect_of(event, request)
        except DependencyError:
            raise
        except Exception as error:  # noqa: BLE001 - one event must not stall all others
            await self._poison(event, f"{type(error).__name__}: {error}")
            return None

    async def _answered(self, event: Event, answer: Applied) -> None:
        if answer is Applied.MISSING:
            await self._missing(event)
        elif answer is Applied.REFUSED:
            await self._poison(event, "the stored sums or this contribution are not integers in range")
        else:
            self._count(event, answer.value)

    async def _missing(self, event: Event) -> None:
        if self._age_s(event) > self._patience.missing_s:
            await self._bury(event, "its record was never written, is gone or cannot be read")
        else:
            self._count(event, Applied.MISSING.value)

    async def _foreign(self, event: Event) -> None:
        if event.version <= EVENT_VERSION:
            await self._poison(event, "it lacks a field or has one that cannot be read")
        elif self._age_s(event) > self._patience.foreign_s:
            await self._bury(event, f"no learner knows its version {event.version}")
        else:
            self._count(event, "foreign")

    async def _poison(self, event: Event, reason: str) -> None:
        if event.deliveries >= self._patience.deliveries:
            await self._bury(event, reason)
        else:
            self._count(event, "failed")

    async def _bury(self, event: Event, reason: str) -> None:
        await self._queue.bury(event, reason)
        self._count(event, "buried")
        _log.error("event buried", entry=event.entry_id, kind=event.kind.value, request=event.request_id, reason=reason)

    def _count(self, event: Event, result: str) -> None:
        self._metrics.events.labels(kind=event.kind.value, result=result).inc()

    def _age_s(self, event: Event) -> float:
        stamp = event.entry_id.partition("-")[0]
        return self._clock.now() - int(stamp) / 1000 if stamp.isdigit() else 0.0
