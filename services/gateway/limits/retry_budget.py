"""How many calls may be second tries at once: a share of what is under way.

When everything fails, every request would be asked three times more, and the upstream that is already down would get
four times the load. A budget keeps that to the share. Envoy has the same, with the same minimum.
"""

from __future__ import annotations

AT_LEAST = 3
"""With little traffic a share of it would be none."""


class RetryBudget:
    """What all requests of this process share."""

    def __init__(self, share: float) -> None:
        self._share = share
        self.active = 0
        self.retrying = 0

    @property
    def room(self) -> bool:
        """Whether one more second try may be under way."""
        return self.retrying < max(AT_LEAST, self._share * self.active)


class Tries:
    """One request's part in the budget, for as long as it is a context."""

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
        """Return whether this request may try again. It holds one place, however often it does."""
        if not self._holds and self._budget.room:
            self._holds = True
            self._budget.retrying += 1
        return self._holds
