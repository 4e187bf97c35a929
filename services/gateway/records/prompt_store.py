"""Port: the store of the routing texts of prompts, with STORE_PROMPTS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class PromptStore(Protocol):
    """Store of prompts."""

    async def texts(self, own_ids: Sequence[str], *, owner: str | None) -> Mapping[str, str]:
        """Return the texts by own id, of requests of `owner` (None: any owner); those that are not stored are absent.

        Raises DependencyError.
        """
