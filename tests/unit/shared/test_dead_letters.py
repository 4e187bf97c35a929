"""Dead letters: moved back by command."""

from __future__ import annotations

from shared.dead_letters import requeue
from shared.schemas.events import Event, EventKind
from tests.support.fakes.event_queue import FakeEventQueue


async def test_moved_back_events_are_announced_to_the_learners() -> None:
    """They do not wait for a learner's next sweep."""
    queue = FakeEventQueue()
    for number in range(3):
        queue.memory.add(Event(f"1-{number}", EventKind.OUTCOME, f"r{number}", 1))
    for event in await queue.read("me", 10):
        await queue.bury(event, "the sums were damaged")
    assert await requeue(queue) == 3
    assert queue.memory.wakes == 1
    assert len(await queue.read("me", 10)) == 3
