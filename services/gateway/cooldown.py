"""Arms and dependencies that failed are left alone for a while. In memory: each gateway finds out by itself, and tells.

What another gateway says of an arm opens the circuit here, too, once; a success here closes it whatever others say. So
one that has lost its own way out does not take the arms from all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.bandit.arms import ArmId
from shared.errors import UpstreamError
from shared.ports import Clock

ACCOUNT = "*"
"""Stands for all arms of our key, where gateways tell one another what rests."""

NEWS_S = 1.0
"""A rest that ends this much later than what was heard before is another one."""

MAX_COOL_S = 60.0
"""A `Retry-After` of a year must not bury an arm."""


@dataclass(frozen=True, slots=True)
class Window:
    """A breaker opens, too, where half of the last `calls` failed, all within `seconds`."""

    calls: int = 20
    seconds: float = 10.0


class Breaker:
    """What failed `threshold` times in a row, or half the time, is skipped; then probed by one caller at a time.

    Failures in a row that all come within `hiccup_s` open nothing: a pause of 60 ms fails each of thirty calls that
    were under way, and then nobody would ask for half a second.

    The rest doubles from `rest_s` to `max_rest_s` while probes fail: a frozen embedder costs its deadline a few times,
    not on every request. A probe that nobody reports on (its caller has left) is followed by another after a rest.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threshold: int = 5,
        rest_s: float = 0.5,
        max_rest_s: float = 5.0,
        window: Window | None = None,
        hiccup_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first_rest_s = rest_s
        self._rest_s = rest_s
        self._max_rest_s = max_rest_s
        self._window = window
        self._recent: deque[tuple[float, bool]] = deque(maxlen=window.calls if window else 0)
        self._hiccup_s = hiccup_s
        self._failures = 0
        self._failing_since = 0.0
        self._until = 0.0
        self._probing = False
        self.open = False
        """Whether calls are being skipped."""
        self.told = False
        """Whether that is because somebody else said so."""

    @property
    def rests_s(self) -> float:
        """Seconds until somebody may try; 0 where anybody may, now."""
        return max(self._until - self._clock.monotonic(), 0.0) if self.open else 0.0

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half_open`: the next caller is the probe."""
        return "closed" if not self.open else "open" if self.rests_s else "half_open"

    def allows(self) -> bool:
        """Return whether to try now. While open, one caller after each rest gets True: the probe."""
        if not self.open:
            return True
        if self.rests_s:
            return False
        self._until = self._clock.monotonic() + self._rest_s
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Close."""
        if self.open:
            self._recent.clear()
        self._note(failed=False)
        self._failures = 0
        self._rest_s = self._first_rest_s
        self.open = self._probing = self.told = False

    def trip(self, rest_s: float) -> None:
        """Open because somebody else has: the first caller after that rest is our probe. No effect while open."""
        if not self.open:
            self.open = self.told = True
            self._until = self._clock.monotonic() + min(rest_s, self._max_rest_s)

    def failed(self) -> None:
        """Count a failure; open at the threshold, and rest longer after each failed probe."""
        self._note(failed=True)
        if not self._failures:
            self._failing_since = self._clock.monotonic()
        self._failures += 1
        if self._probing:
            self._rest_s = min(self._rest_s * 2, self._max_rest_s)
        elif self.open or not (self._failed_in_a_row() or self._half_failed()):
            return  # calls that were under way when it opened say nothing new
        self.open, self._probing, self.told = True, False, False
        self._until = self._clock.monotonic() + self._rest_s

    def _note(self, *, failed: bool) -> None:
        if self._window is not None:
            self._recent.append((self._clock.monotonic(), failed))

    def _failed_in_a_row(self) -> bool:
        lasted_s = self._clock.monotonic() - self._failing_since
        return self._failures >= self._threshold and lasted_s >= self._hiccup_s

    def _half_failed(self) -> bool:
        if self._window is None or len(self._recent) < self._window.calls:
            return False
        lately = self._recent[0][0] >= self._clock.monotonic() - self._window.seconds
        return lately and sum(failed for _, failed in self._recent) * 2 >= self._window.calls


class CoolDowns:
    """Which arms rest: told to by a failure (`Retry-After`), or because their circuit is open.

    `account` is the circuit of our key, which all arms share: 401, 402 and 403 are nobody else's fault.
    Holds at most one entry an arm, and arms come from the catalogue: bounded.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[ArmId, float] = {}
        self._circuits: dict[ArmId, Breaker] = defaultdict(
            lambda: Breaker(clock, rest_s=5.0, max_rest_s=60.0, window=Window())
        )
        self._heard: dict[tuple[str, ArmId], float] = {}
        self.account = Breaker(clock, threshold=1, rest_s=5.0, max_rest_s=60.0)

    def cool(self, arm: ArmId, seconds: float) -> None:
        """Leave `arm` alone for that long, at most a minute; never shortens a rest."""
        if seconds > 0:
            until = self._clock.monotonic() + min(seconds, MAX_COOL_S)
            self._until[arm] = max(until, self._until.get(arm, 0.0))

    def failed(self, arm: ArmId, error: UpstreamError, *, blames_arm: bool) -> None:
        """Take note of a failed call."""
        if error.account:
            self.account.failed()
        else:
            self.cool(arm, error.cool_s)
            if error.status is not None:  # it spoke of something else: our key is not what it minds
                self.account.succeeded()
        if blames_arm:
            self._circuits[arm].failed()

    def succeeded(self, arm: ArmId) -> None:
        """Take note of an answer."""
        self.account.succeeded()
        self._circuits[arm].succeeded()

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

    def rests_s(self, arm: ArmId) -> float:
        """Return for how long `arm` should be left alone; 0 for a warm one."""
        cooled = max(self._until.get(arm, 0.0) - self._clock.monotonic(), 0.0) if self._until else 0.0
        circuit = self._circuits.get(arm)
        return max(cooled, circuit.rests_s) if circuit is not None and circuit.open else cooled

    def resting(self) -> dict[ArmId, float]:
        """Return the seconds left of each arm that rests."""
        known = self._until.keys() | self._circuits.keys()
        return {arm: left for arm in known if (left := self.rests_s(arm))}

    def found(self) -> dict[ArmId, float]:
        """Return for how long the arms rest whose circuits we have opened ourselves, ACCOUNT among them."""
        circuits = {**self._circuits, ACCOUNT: self.account}
        return {arm: one.rests_s for arm, one in circuits.items() if one.rests_s and not one.told}

    def hear(self, said: Mapping[str, Mapping[ArmId, float]]) -> None:
        """Take note of what other gateways, by name, have found; each rest is news only once."""
        now, before = self._clock.monotonic(), self._heard
        self._heard = {(name, arm): now + rest_s for name, rests in said.items() for arm, rest_s in rests.items()}
        for (name, arm), until in self._heard.items():
            if until > before.get((name, arm), 0.0) + NEWS_S:
                (self.account if arm == ACCOUNT else self._circuits[arm]).trip(until - now)

    def circuit(self, arm: ArmId) -> str:
        """Return the state of the circuit of `arm`."""
        circuit = self._circuits.get(arm)
        return "closed" if circuit is None else circuit.state
