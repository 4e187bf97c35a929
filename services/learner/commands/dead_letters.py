"""Command on dead letters: list the events that could not be applied."""

from __future__ import annotations

from shared.ports import EventQueue
from shared.schemas.storage import DeadLetter


async def listing(queue: EventQueue, limit: int) -> list[str]:
    """Return one line for each dead letter, oldest first."""
    return [_line(letter) for letter in await queue.dead(limit)]


def _line(letter: DeadLetter) -> str:
    event = letter.event
    return f"{event.entry_id}  {event.kind.value:8}  {event.request_id}  revision {event.revision}  {letter.reason}"
