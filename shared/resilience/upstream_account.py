"""Circuit breakers of an upstream account, which all arms of the upstream share: key, credit, limit of free models.

A circuit of the account opens only on evidence of more than one request and more than one arm, with no success of an
arm that needs the key (or the credit) in between: one request that is too dear, or one model that refuses, proves
nothing about the account. The evidence is forgotten after a minute.

| circuit | needed by | closed by | while it is open |
|---|---|---|---|
| key | every arm | any answer, and any refusal that is about something else | no call but one probe per cooldown |
| credit | arms that cost money | an answer of one of them | they are called after the free ones; see `Credit` |
"""

from __future__ import annotations

import math

from shared.bandit.arms import ArmId
from shared.ports import Clock
from shared.resilience.circuit_breaker import CircuitBreaker

EVIDENCE_S = 60.0
FIRST_REST_S, MAX_REST_S = 5.0, 60.0
MAX_LIMIT_S = 3600.0
ENOUGH = 2
"""Number of requests, and of arms, that have to be refused."""


class AccountCircuit:
    """A circuit over all arms that need one thing of our account."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests: dict[str, float] = {}
        self._arms: dict[ArmId, float] = {}
        self.breaker = CircuitBreaker(clock, threshold=1, first_cooldown_s=FIRST_REST_S, max_cooldown_s=MAX_REST_S)

    @property
    def refused(self) -> bool:
        """Whether it is open, or several requests have been refused and nothing has succeeded since."""
        self._forget()
        return self.breaker.open or len(self._requests) >= ENOUGH

    @property
    def doubted(self) -> bool:
        """Whether there is anything that a success would clear."""
        return self.breaker.open or bool(self._requests)

    def failed(self, arm: ArmId, request: str) -> None:
        """Count that `arm` refused the request of that id because of the account."""
        self._forget()
        self._requests[request] = self._arms[arm] = self._clock.monotonic()
        while len(self._requests) > ENOUGH:  # the newest are evidence enough
            del self._requests[next(iter(self._requests))]
        enough = len(self._requests) >= ENOUGH and len(self._arms) >= ENOUGH
        if enough and self.breaker.reported:  # evidence of our own
            self.breaker.succeeded()
        if enough or (self.breaker.open and not self.breaker.reported):
            self.breaker.failed()

    def succeeded(self) -> None:
        """Close: the account is fine."""
        self._requests.clear()
        self._arms.clear()
        self.breaker.succeeded()

    def _forget(self) -> None:
        oldest = self._clock.monotonic() - EVIDENCE_S
        for seen in (self._requests, self._arms):
            for name in [name for name, at in seen.items() if at < oldest]:
                del seen[name]


class Credit(AccountCircuit):
    """The circuit of arms that cost money.

    Credit that is short for a large request may do for a small one. So while it is open, a request that asks for fewer
    tokens than every one that was refused is still let through; a report of another gateway only changes the order.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._least_refused = math.inf

    def refuse(self, arm: ArmId, request: str, tokens: float) -> None:
        """Count that `arm` refused a request for that many tokens because of the credit."""
        self._forget()
        if not self._requests and not self.breaker.open:
            self._least_refused = math.inf
        self._least_refused = min(self._least_refused, tokens)
        self.failed(arm, request)

    def allows(self, tokens: float) -> bool:
        """Return whether an arm that costs money may be called for that many tokens."""
        if not self.breaker.open or self.breaker.reported or tokens < self._least_refused:
            return True
        return self.breaker.allows()

    def succeeded(self) -> None:
        """Close: there is credit."""
        super().succeeded()
        self._least_refused = math.inf


class FreeLimit:
    """The limit that all `:free` models share: once it is reached, none of them is called until it is lifted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0
        self._resets_at = 0.0
        self.reported = False
        """Whether another gateway reported it."""

    @property
    def known(self) -> bool:
        """Whether it was reached, and not lifted since."""
        return self._until > 0.0

    @property
    def cooldown_s(self) -> float:
        """Seconds until a free model may be called."""
        return max(self._until - self._clock.monotonic(), 0.0) if self._until else 0.0

    @property
    def resets_s(self) -> float:
        """Seconds until the limit is reset; free models may be tried before, for credit may have been added."""
        return max(self._resets_at - self._clock.monotonic(), self.cooldown_s)

    def reached(self, seconds: float, resets_s: float = 0.0) -> None:
        """Count a refusal; the latest one decides."""
        now = self._clock.monotonic()
        self._until, self._resets_at, self.reported = now + seconds, now + max(resets_s, seconds), False

    def merge(self, seconds: float) -> None:
        """Merge the report of another gateway."""
        if seconds > self.cooldown_s:
            self._until, self.reported = self._clock.monotonic() + min(seconds, MAX_LIMIT_S), True
            self._resets_at = max(self._resets_at, self._until)

    def lift(self) -> None:
        """Lift the limit: a free model has answered."""
        self._until = 0.0


class Account:
    """The account at one upstream: its key, its credit, and its limit of free models."""

    def __init__(self, clock: Clock) -> None:
        self.key = AccountCircuit(clock)
        self.credit = Credit(clock)
        self.free_limit = FreeLimit(clock)
