"""Circuit breakers of arms and of the upstreams' accounts: what fails is not called for a while.

They live in memory: each gateway learns from its own calls, and tells the others by gossip. A report of another gateway
opens a circuit here, too, once; a success here closes it whatever others report. So a gateway that has lost its own
network does not take the arms from all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from shared.bandit.arms import ArmId, is_free_variant
from shared.errors import Scope, UpstreamError
from shared.ports import Clock
from shared.resilience.circuit_breaker import CircuitBreaker, Window
from shared.resilience.upstream_account import Account

ACCOUNT, CREDIT, FREE_LIMIT = "*", "*credit", "*free"
"""Kinds of circuits of an account: all arms of the key, those that cost money, and the `:free` ones.

In gossip, `*credit@openai` is the one of that upstream.
"""

NEWS_S = 1.0
"""A cooldown that ends this much later than the reported one is a new one."""

MAX_COOL_S = 60.0
"""A `Retry-After` of a year must not bury an arm."""


def _costs_money(arm: ArmId) -> bool:
    return not is_free_variant(arm)


def _one_upstream(_: ArmId) -> str:
    return ""


class CircuitBreakers:
    """The cooldown of each arm: by `Retry-After`, by its own circuit, or by a circuit of its upstream's account.

    `costs_money` says which arms need credit, `upstream_of` which upstream serves an arm. Holds at most one entry per
    arm and upstream, and these come from the catalogue: bounded.
    """

    def __init__(
        self,
        clock: Clock,
        costs_money: Callable[[ArmId], bool] = _costs_money,
        upstream_of: Callable[[ArmId], str] = _one_upstream,
    ) -> None:
        self._clock = clock
        self._until: dict[ArmId, float] = {}
        self._circuits: dict[ArmId, CircuitBreaker] = defaultdict(
            lambda: CircuitBreaker(clock, first_cooldown_s=5.0, max_cooldown_s=60.0, window=Window())
        )
        self._heard: dict[tuple[str, ArmId], float] = {}
        self.costs_money = costs_money
        self.upstream_of = upstream_of
        self._accounts: dict[str, Account] = defaultdict(lambda: Account(clock))

    def account(self, arm: ArmId) -> Account:
        """Return the account that `arm` is called with."""
        return self._accounts[self.upstream_of(arm)]

    def account_at(self, upstream: str) -> Account:
        """Return the account at an upstream."""
        return self._accounts[upstream]

    def cool_down(self, arm: ArmId, seconds: float) -> None:
        """Let `arm` cool down for that long, at most a minute; never shortens a cooldown."""
        if seconds > 0:
            until = self._clock.monotonic() + min(seconds, MAX_COOL_S)
            self._until[arm] = max(until, self._until.get(arm, 0.0))

    def failed(self, arm: ArmId, error: UpstreamError, *, request: str = "", tokens: float = 0.0) -> None:
        """Count a failed call, made for the request of that id, which asked for that many tokens."""
        account = self.account(arm)
        if error.scope is Scope.KEY:
            account.key.failed(arm, request)
            return
        if error.scope is Scope.CREDIT:
            account.credit.refuse(arm, request, tokens)
        elif error.free_cap:
            account.free_limit.reached(error.cool_s, error.reset_s)
        else:
            self.cool_down(arm, error.cool_s)
        if error.status is not None:  # the refusal is about something else, so our key is accepted
            account.key.succeeded()
        if error.scope is Scope.ARM:
            self._circuits[arm].failed()

    def succeeded(self, arm: ArmId) -> None:
        """Count an answer."""
        account = self.account(arm)
        account.key.succeeded()
        if account.credit.doubted and self.costs_money(arm):
            account.credit.succeeded()
        if account.free_limit.cooldown_s and is_free_variant(arm):
            account.free_limit.lift()
        self._circuits[arm].succeeded()

    def may_ask(self, arm: ArmId, tokens: Callable[[], float], *, named: bool) -> bool:
        """Return whether its account's credit and limit of free models allow a call of `arm` now.

        `tokens` counts what the request asks for. A client that named the model gets the limit's error from the
        upstream.
        """
        account = self.account(arm)
        if account.free_limit.cooldown_s and is_free_variant(arm):
            return named
        if account.credit.breaker.open and self.costs_money(arm):
            return account.credit.allows(tokens())
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
        """Return the arm with the shortest cooldown; while a credit is refused, arms that do not need it come first."""
        for account in self._accounts.values():
            if account.credit.doubted and account.credit.refused:
                return min(arms, key=lambda arm: (self._needs_refused_credit(arm), self.cooldown_s(arm)))
        return min(arms, key=self.cooldown_s)

    def _needs_refused_credit(self, arm: ArmId) -> bool:
        return self.account(arm).credit.refused and self.costs_money(arm)

    def cooldown_s(self, arm: ArmId) -> float:
        """Return for how long `arm` cools down; 0 where it may be called."""
        cooled = max(self._until.get(arm, 0.0) - self._clock.monotonic(), 0.0) if self._until else 0.0
        circuit = self._circuits.get(arm)
        if circuit is not None and circuit.open:
            cooled = max(cooled, circuit.cooldown_s)
        for account in self._accounts.values():  # as a rule none is limited: no look-up of the arm's own then
            if account.credit.breaker.open or account.free_limit.known:
                return max(cooled, self._account_cooldown_s(arm))
        return cooled

    def _account_cooldown_s(self, arm: ArmId) -> float:
        account = self.account(arm)
        if account.credit.breaker.open and self.costs_money(arm):
            return account.credit.breaker.cooldown_s
        return account.free_limit.cooldown_s if is_free_variant(arm) else 0.0

    def own_findings(self) -> dict[ArmId, float]:
        """Return the cooldowns of circuits that our own calls have opened, for the other gateways."""
        circuits = {**self._circuits, **dict(self._account_circuits())}
        found = {arm: one.cooldown_s for arm, one in circuits.items() if one.cooldown_s and not one.reported}
        for upstream, account in self._accounts.items():
            if account.free_limit.cooldown_s and not account.free_limit.reported:
                found[f"{FREE_LIMIT}@{upstream}"] = account.free_limit.cooldown_s
        return found

    def _account_circuits(self) -> Iterator[tuple[str, CircuitBreaker]]:
        for upstream, account in self._accounts.items():
            yield f"{ACCOUNT}@{upstream}", account.key.breaker
            yield f"{CREDIT}@{upstream}", account.credit.breaker

    def merge(self, said: Mapping[str, Mapping[ArmId, float]]) -> None:
        """Merge what other gateways, by name, have found; each cooldown counts only once."""
        now, before = self._clock.monotonic(), self._heard
        self._heard = {(name, arm): now + rest_s for name, rests in said.items() for arm, rest_s in rests.items()}
        for (name, arm), until in self._heard.items():
            if until > before.get((name, arm), 0.0) + NEWS_S:
                self._merge_one(arm, until - now)

    def _merge_one(self, arm: ArmId, rest_s: float) -> None:
        kind, _, upstream = arm.partition("@")
        if kind not in (ACCOUNT, CREDIT, FREE_LIMIT):
            self._circuits[arm].trip(rest_s)
        elif kind == FREE_LIMIT:
            self._accounts[upstream].free_limit.merge(rest_s)
        else:
            account = self._accounts[upstream]
            (account.key if kind == ACCOUNT else account.credit).breaker.trip(rest_s)

    def circuit(self, arm: ArmId) -> str:
        """Return the state of the circuit of `arm`."""
        circuit = self._circuits.get(arm)
        return "closed" if circuit is None else circuit.state
