"""Arms that failed are left alone for a while. In memory: each gateway finds out by itself, and tells the others.

What another gateway says of an arm opens the circuit here, too, once; a success here closes it whatever others say. So
one that has lost its own way out does not take the arms from all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from services.gateway.limits.upstream_account import AccountCircuit, Credit, FreeLimit
from shared.bandit.arms import ArmId, is_free_variant
from shared.errors import Scope, UpstreamError
from shared.ports import Clock
from shared.resilience.circuit_breaker import CircuitBreaker, Window

ACCOUNT, CREDIT, FREE_LIMIT = "*", "*credit", "*free"
"""Where gateways tell one another what rests: all arms of our key, those that cost money, and the `:free` ones."""

NEWS_S = 1.0
"""A rest that ends this much later than what was heard before is another one."""

MAX_COOL_S = 60.0
"""A `Retry-After` of a year must not bury an arm."""


def _costs_money(arm: ArmId) -> bool:
    return not is_free_variant(arm)


class CircuitBreakers:
    """Which arms rest: told to by a failure (`Retry-After`), because their circuit is open, or for the account's sake.

    `key`, `credit` and `free_limit` are the account's (`account.py`); `costs_money` says which arms need credit.
    Holds at most one entry an arm, and arms come from the catalogue: bounded.
    """

    def __init__(self, clock: Clock, costs_money: Callable[[ArmId], bool] = _costs_money) -> None:
        self._clock = clock
        self._until: dict[ArmId, float] = {}
        self._circuits: dict[ArmId, CircuitBreaker] = defaultdict(
            lambda: CircuitBreaker(clock, rest_s=5.0, max_rest_s=60.0, window=Window())
        )
        self._heard: dict[tuple[str, ArmId], float] = {}
        self.costs_money = costs_money
        self.key = AccountCircuit(clock)
        self.credit = Credit(clock)
        self.free_limit = FreeLimit(clock)

    def cool(self, arm: ArmId, seconds: float) -> None:
        """Leave `arm` alone for that long, at most a minute; never shortens a rest."""
        if seconds > 0:
            until = self._clock.monotonic() + min(seconds, MAX_COOL_S)
            self._until[arm] = max(until, self._until.get(arm, 0.0))

    def failed(self, arm: ArmId, error: UpstreamError, *, request: str = "", tokens: float = 0.0) -> None:
        """Take note of a failed call, made for `request` (a name), which asked for that many tokens."""
        if error.scope is Scope.KEY:
            self.key.failed(arm, request)
            return
        if error.scope is Scope.CREDIT:
            self.credit.refuse(arm, request, tokens)
        elif error.free_cap:
            self.free_limit.reached(error.cool_s, error.reset_s)
        else:
            self.cool(arm, error.cool_s)
        if error.status is not None:  # it spoke of something else: our key is not what it minds
            self.key.succeeded()
        if error.scope is Scope.ARM:
            self._circuits[arm].failed()

    def succeeded(self, arm: ArmId) -> None:
        """Take note of an answer."""
        self.key.succeeded()
        if self.credit.doubted and self.costs_money(arm):
            self.credit.succeeded()
        if self.free_limit.rests_s and is_free_variant(arm):
            self.free_limit.lift()
        self._circuits[arm].succeeded()

    def may_ask(self, arm: ArmId, tokens: Callable[[], float], *, named: bool) -> bool:
        """Return whether `arm` may be asked now, as far as the account's credit and its free models' limit go.

        `tokens` counts what is asked for. A client that named the model hears of the limit from the upstream.
        """
        if self.free_limit.rests_s and is_free_variant(arm):
            return named
        if self.credit.breaker.open and self.costs_money(arm):
            return self.credit.allows(tokens())
        return True

    def warm(self, arms: Iterable[ArmId]) -> tuple[ArmId, ...]:
        """Return those of `arms` that are not resting, or all of them if all rest: trying beats refusing."""
        arms = tuple(arms)
        return tuple(arm for arm in arms if not self.rests_s(arm)) or arms

    def by_rest(self, arms: Iterable[ArmId]) -> tuple[ArmId, ...]:
        """Return `arms` in their order, those that rest behind the others, the shortest rest first."""
        return tuple(sorted(arms, key=self.rests_s))

    def begin(self, arms: Sequence[ArmId]) -> ArmId:
        """Return whom to ask now: the first that is not resting, or the one that rests shortest."""
        arm = min(arms, key=self.rests_s)
        self._circuits[arm].allows()  # if its circuit is half open, this call is the probe
        return arm

    def first_of(self, arms: Iterable[ArmId]) -> ArmId:
        """Return the arm that rests shortest; while the credit is refused, one that needs none before all others."""
        if self.credit.doubted and self.credit.refused:
            return min(arms, key=lambda arm: (self.costs_money(arm), self.rests_s(arm)))
        return min(arms, key=self.rests_s)

    def rests_s(self, arm: ArmId) -> float:
        """Return for how long `arm` should be left alone; 0 for a warm one."""
        cooled = max(self._until.get(arm, 0.0) - self._clock.monotonic(), 0.0) if self._until else 0.0
        circuit = self._circuits.get(arm)
        if circuit is not None and circuit.open:
            cooled = max(cooled, circuit.rests_s)
        if self.credit.breaker.open and self.costs_money(arm):
            cooled = max(cooled, self.credit.breaker.rests_s)
        if self.free_limit.rests_s and is_free_variant(arm):
            cooled = max(cooled, self.free_limit.rests_s)
        return cooled

    def found(self) -> dict[ArmId, float]:
        """Return for how long the arms rest whose circuits we have opened ourselves, and the account's circuits."""
        circuits = {**self._circuits, ACCOUNT: self.key.breaker, CREDIT: self.credit.breaker}
        found = {arm: one.rests_s for arm, one in circuits.items() if one.rests_s and not one.told}
        if self.free_limit.rests_s and not self.free_limit.told:
            found[FREE_LIMIT] = self.free_limit.rests_s
        return found

    def hear(self, said: Mapping[str, Mapping[ArmId, float]]) -> None:
        """Take note of what other gateways, by name, have found; each rest is news only once."""
        now, before = self._clock.monotonic(), self._heard
        self._heard = {(name, arm): now + rest_s for name, rests in said.items() for arm, rest_s in rests.items()}
        for (name, arm), until in self._heard.items():
            if until > before.get((name, arm), 0.0) + NEWS_S:
                self._hear_of(arm, until - now)

    def _hear_of(self, arm: ArmId, rest_s: float) -> None:
        if arm == FREE_LIMIT:
            self.free_limit.hear(rest_s)
        elif arm in (ACCOUNT, CREDIT):
            (self.key if arm == ACCOUNT else self.credit).breaker.trip(rest_s)
        else:
            self._circuits[arm].trip(rest_s)

    def circuit(self, arm: ArmId) -> str:
        """Return the state of the circuit of `arm`."""
        circuit = self._circuits.get(arm)
        return "closed" if circuit is None else circuit.state
