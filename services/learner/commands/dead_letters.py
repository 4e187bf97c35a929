"""Commands on dead letters: list the events that could not be applied, and requeue them."""

from __future__ import annotations

from collections.abc import Iterator

from shared.ports import EventQueue
from shared.schemas.storage import DeadLetter

_BATCH = 500


async def requeue(queue: EventQueue) -> int:
    """Move all dead letters back to the stream; return how many."""
    total = 0
    waiting = (await queue.depth()).dead
    # Counted before: events that fail again meanwhile wait for the next call, or this would never end.
    while total < waiting:
        moved = await queue.requeue(min(_BATCH, waiting - total))
        if not moved:
            break
        total += moved
    await queue.wake()
    return total


async def listing(queue: EventQueue, limit: int) -> list[str]:
    """Return one line for each dead letter, oldest first."""
    return list(_lines(await queue.dead(limit)))


def _lines(letters: list[DeadLetter]) -> Iterator[str]:
    for letter in letters:
        event = letter.event
        yield f"{event.entry_id}  {event.kind.value:8}  {event.request_id}  revision {event.revision}  {letter.reason}"
