"""Port of the list of requests; errors are those of `shared.ports`."""

from __future__ import annotations

from typing import Protocol

from shared.schemas.traffic import RequestPage


class RequestList(Protocol):
    """Latest recorded requests, of each owner and of all. Bounded: older ones are found by their id only."""

    async def page(self, owner: str | None, *, before: str, limit: int) -> RequestPage:
        """Return up to `limit` requests of `owner` (None: of all), newest first.

        `before`: an own id of which only older requests are wanted; "" for the newest.
        """
