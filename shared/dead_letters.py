"""Requeueing of dead letters, by the learner's command and by the gateway's endpoint."""

from __future__ import annotations

from shared.ports import EventQueue

_BATCH = 500


async def requeue(queue: EventQueue) -> int:
    """Move all dead letters back to the stream, a batch at a time; return how many. Raises DependencyError.

    Each batch is moved atomically. Events whose effect was applied in between are not applied again.
    """
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
