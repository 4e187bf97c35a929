"""`EventQueue` in memory."""

from __future__ import annotations

import math

from shared.errors import DependencyError
from shared.schemas.events import Event
from shared.schemas.storage import DeadLetter, QueueDepth
from tests.support.fakes.memory import Memory
from tests.support.values import replace


class FakeEventQueue:
    """The contract, without Redis. `memory.wakes` counts wake-ups."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._seen: dict[str, float] = {}

    async def prepare(self) -> None:
        self._here()

    async def wake(self) -> None:
        self._here()
        self.memory.wakes += 1

    async def read(self, consumer: str, limit: int) -> list[Event]:
        self._here()
        self._seen[consumer] = self.memory.clock.now()
        fresh = [entry_id for entry_id in self.memory.events if entry_id not in self.memory.handed_out]
        return [self._hand_out(entry_id, consumer) for entry_id in fresh[:limit]]

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[Event]:
        self._here()
        until = self.memory.clock.now() - idle_s
        idle = [each for each in self.memory.events if self.memory.handed_out.get(each, ("", math.inf))[1] <= until]
        if idle:
            self._seen[consumer] = self.memory.clock.now()
        return [self._hand_out(entry_id, consumer) for entry_id in idle[:limit]]

    def _hand_out(self, entry_id: str, consumer: str) -> Event:
        event = self.memory.events[entry_id]
        event = replace(event, deliveries=event.deliveries + 1)
        self.memory.events[entry_id] = event
        self.memory.handed_out[entry_id] = (consumer, self.memory.clock.now())
        return event

    async def bury(self, event: Event, reason: str) -> None:
        self._here()
        if event.entry_id in self.memory.events:
            self.memory.dead[event.entry_id] = DeadLetter(replace(event, deliveries=1), reason)
        self.memory.acknowledge(event.entry_id)

    async def requeue(self, limit: int) -> int:
        self._here()
        letters = list(self.memory.dead.items())[:limit]
        for entry_id, letter in letters:
            del self.memory.dead[entry_id]
            self.memory.add(letter.event)
        return len(letters)

    async def dead(self, limit: int) -> list[DeadLetter]:
        self._here()
        return list(self.memory.dead.values())[:limit]

    async def forget_consumers(self, idle_s: float) -> int:
        self._here()
        holding = {consumer for consumer, _ in self.memory.handed_out.values()}
        until = self.memory.clock.now() - idle_s
        gone = [name for name, at in self._seen.items() if name not in holding and at <= until]
        for name in gone:
            del self._seen[name]
        return len(gone)

    async def depth(self) -> QueueDepth:
        self._here()
        first = next(iter(self.memory.events), None)
        age_s = 0.0 if first is None else self.memory.clock.now() - int(first.split("-")[0]) / 1000
        return QueueDepth(len(self.memory.events), max(age_s, 0.0), len(self.memory.dead), len(self.memory.unindexed))

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
