"""Retry budget: the number of concurrent retries, as a share of the requests in flight.

When everything fails, every request would be retried three times, and an upstream that is already down would get four
times the load. The budget limits that to the share. Envoy has the same, with the same minimum.
"""

from __future__ import annotations

AT_LEAST = 3
"""With little traffic the share alone would be none."""


class RetryBudget:
    """The budget of a process. `share`: retries per request in flight."""

    def __init__(self, share: float) -> None:
        self._share = share
        self.active = 0
        self.retrying = 0

    @property
    def room(self) -> bool:
        """Whether there is room for one more retry."""
        return self.retrying < max(AT_LEAST, self._share * self.active)


class Tries:
    """One request's part of the budget: a context manager around its calls."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._holds = False

    def __enter__(self) -> Tries:
        self._budget.active += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.active -= 1
        self._budget.retrying -= self._holds

    def again(self) -> bool:
        """Return whether this request may retry. It takes one place, however often it retries."""
        if not self._holds and self._budget.room:
            self._holds = True
            self._budget.retrying += 1
        return self._holds
