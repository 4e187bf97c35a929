"""Circuit breakers of arms and of the upstream account: what fails is not called for a while.

They live in memory: each gateway learns from its own calls, and tells the others by gossip. A report of another gateway
opens a circuit here, too, once; a success here closes it whatever others report. So a gateway that has lost its own
network does not take the arms from all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from shared.bandit.arms import ArmId, is_free_variant
from shared.errors import Scope, UpstreamError
from shared.ports import Clock
from shared.resilience.circuit_breaker import CircuitBreaker, Window
from shared.resilience.upstream_account import AccountCircuit, Credit, FreeLimit

ACCOUNT, CREDIT, FREE_LIMIT = "*", "*credit", "*free"
"""Names in gossip for circuits of the account: all arms of our key, those that cost money, and the `:free` ones."""

NEWS_S = 1.0
"""A cooldown that ends this much later than the reported one is a new one."""

MAX_COOL_S = 60.0
"""A `Retry-After` of a year must not bury an arm."""


def _costs_money(arm: ArmId) -> bool:
    return not is_free_variant(arm)


class CircuitBreakers:
    """The cooldown of each arm: by `Retry-After`, by its own circuit, or by a circuit of the account.

    `key`, `credit` and `free_limit` are the account's (`upstream_account.py`); `costs_money` says which arms need
    credit. Holds at most one entry per arm, and arms come from the catalogue: bounded.
    """

    def __init__(self, clock: Clock, costs_money: Callable[[ArmId], bool] = _costs_money) -> None:
        self._clock = clock
        self._until: dict[ArmId, float] = {}
        self._circuits: dict[ArmId, CircuitBreaker] = defaultdict(
            lambda: CircuitBreaker(clock, first_cooldown_s=5.0, max_cooldown_s=60.0, window=Window())
        )
        self._heard: dict[tuple[str, ArmId], float] = {}
        self.costs_money = costs_money
        self.key = AccountCircuit(clock)
        self.credit = Credit(clock)
        self.free_limit = FreeLimit(clock)

    def cool_down(self, arm: ArmId, seconds: float) -> None:
        """Let `arm` cool down for that long, at most a minute; never shortens a cooldown."""
        if seconds > 0:
            until = self._clock.monotonic() + min(seconds, MAX_COOL_S)
            self._until[arm] = max(until, self._until.get(arm, 0.0))

    def failed(self, arm: ArmId, error: UpstreamError, *, request: str = "", tokens: float = 0.0) -> None:
        """Count a failed call, made for the request of that id, which asked for that many tokens."""
        if error.scope is Scope.KEY:
            self.key.failed(arm, request)
            return
        if error.scope is Scope.CREDIT:
            self.credit.refuse(arm, request, tokens)
        elif error.free_cap:
            self.free_limit.reached(error.cool_s, error.reset_s)
        else:
            self.cool_down(arm, error.cool_s)
        if error.status is not None:  # the refusal is about something else, so our key is accepted
            self.key.succeeded()
        if error.scope is Scope.ARM:
            self._circuits[arm].failed()

    def succeeded(self, arm: ArmId) -> None:
        """Count an answer."""
        self.key.succeeded()
        if self.credit.doubted and self.costs_money(arm):
            self.credit.succeeded()
        if self.free_limit.cooldown_s and is_free_variant(arm):
            self.free_limit.lift()
        self._circuits[arm].succeeded()

    def may_ask(self, arm: ArmId, tokens: Callable[[], float], *, named: bool) -> bool:
        """Return whether the account's credit and its limit of free models allow a call of `arm` now.

        `tokens` counts what the request asks for. A client that named the model gets the limit's error from the
        upstream.
        """
        if self.free_limit.cooldown_s and is_free_variant(arm):
            return named
        if self.credit.breaker.open and self.costs_money(arm):
            return self.credit.allows(tokens())
        return True

    def available(self, arms: Iterable[ArmId]) -> tuple[ArmId, ...]:
        """Return those of `arms` that do not cool down, or all of them if all do: trying beats refusing."""
        arms = tuple(arms)
        return tuple(arm for arm in arms if not self.cooldown_s(arm)) or arms

    def by_cooldown(self, arms: Iterable[ArmId]) -> tuple[ArmId, ...]:
        """Return `arms` in their order, those that cool down behind the others, the shortest cooldown first."""
        return tuple(sorted(arms, key=self.cooldown_s))

    def begin(self, arms: Sequence[ArmId]) -> ArmId:
        """Return the arm to call now: the one with the shortest cooldown, the first of several without one."""
        arm = min(arms, key=self.cooldown_s)
        self._circuits[arm].allows()  # if its circuit is half open, this call is the probe
        return arm

    def first_of(self, arms: Iterable[ArmId]) -> ArmId:
        """Return the arm with the shortest cooldown; while the credit is refused, arms that need none come first."""
        if self.credit.doubted and self.credit.refused:
            return min(arms, key=lambda arm: (self.costs_money(arm), self.cooldown_s(arm)))
        return min(arms, key=self.cooldown_s)

    def cooldown_s(self, arm: ArmId) -> float:
        """Return for how long `arm` cools down; 0 where it may be called."""
        cooled = max(self._until.get(arm, 0.0) - self._clock.monotonic(), 0.0) if self._until else 0.0
        circuit = self._circuits.get(arm)
        if circuit is not None and circuit.open:
            cooled = max(cooled, circuit.cooldown_s)
        if self.credit.breaker.open and self.costs_money(arm):
            cooled = max(cooled, self.credit.breaker.cooldown_s)
        if self.free_limit.cooldown_s and is_free_variant(arm):
            cooled = max(cooled, self.free_limit.cooldown_s)
        return cooled

    def own_findings(self) -> dict[ArmId, float]:
        """Return the cooldowns of circuits that our own calls have opened, for the other gateways."""
        circuits = {**self._circuits, ACCOUNT: self.key.breaker, CREDIT: self.credit.breaker}
        found = {arm: one.cooldown_s for arm, one in circuits.items() if one.cooldown_s and not one.reported}
        if self.free_limit.cooldown_s and not self.free_limit.reported:
            found[FREE_LIMIT] = self.free_limit.cooldown_s
        return found

    def merge(self, said: Mapping[str, Mapping[ArmId, float]]) -> None:
        """Merge what other gateways, by name, have found; each cooldown counts only once."""
        now, before = self._clock.monotonic(), self._heard
        self._heard = {(name, arm): now + rest_s for name, rests in said.items() for arm, rest_s in rests.items()}
        for (name, arm), until in self._heard.items():
            if until > before.get((name, arm), 0.0) + NEWS_S:
                self._merge_one(arm, until - now)

    def _merge_one(self, arm: ArmId, rest_s: float) -> None:
        if arm == FREE_LIMIT:
            self.free_limit.merge(rest_s)
        elif arm in (ACCOUNT, CREDIT):
            (self.key if arm == ACCOUNT else self.credit).breaker.trip(rest_s)
        else:
            self._circuits[arm].trip(rest_s)

    def circuit(self, arm: ArmId) -> str:
        """Return the state of the circuit of `arm`."""
        circuit = self._circuits.get(arm)
        return "closed" if circuit is None else circuit.state
