"""List prices: what MODEL_PRICES gives goes before what the upstream lists. And what cannot count without prices.

An upstream may report the cost of each answer without listing prices; once it has, that model needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.bandit.arms import Arm, ArmId, Price
from shared.bandit.variants import resolve
from shared.logs import get_logger

_log = get_logger(__name__)

MAX_NAMED = 8
"""Models that a warning names."""


class PriceList:
    """The prices of one gateway.

    Attributes:
        budgets: settings that promise a limit in USD.
        users: all settings that need to know what an answer costs.
    """

    def __init__(
        self, given: Mapping[str, Price] | None = None, budgets: tuple[str, ...] = (), *, weighed: bool = False
    ) -> None:
        self._given = dict(given or {})
        self._by_arm: Mapping[ArmId, Price] = self._given
        self.budgets = budgets
        self.users = (*budgets, "COST_WEIGHT") if weighed else budgets
        self._reporting: set[ArmId] = set()
        self._warned: frozenset[ArmId] = frozenset()
        self._strange: tuple[str, ...] = ()

    def price(self, arm: ArmId) -> Price | None:
        """Return the price that MODEL_PRICES gives to an arm."""
        return self._by_arm.get(arm)

    def on(self, arm: Arm) -> Arm:
        """Return `arm` with the given price, if there is one."""
        price = self._by_arm.get(arm.id)
        return arm if price is None else replace(arm, price=price)

    def applied(self, listed: Mapping[ArmId, Arm]) -> dict[ArmId, Arm]:
        """Return the upstream's models with the given prices. A name may leave out the provider, as elsewhere."""
        named = {name: name if name in listed else resolve(name, listed) for name in self._given}
        self._by_arm = {named[name] or name: price for name, price in self._given.items()}
        strange = tuple(name for name, arm in named.items() if arm is None)
        if listed and strange and strange != self._strange:
            _log.warning("MODEL_PRICES names models that the upstream does not list", models=strange[:MAX_NAMED])
        self._strange = strange
        return {name: self.on(arm) for name, arm in listed.items()}

    def cost_reported(self, arm: ArmId) -> None:
        """The upstream has reported the cost of an answer of one of the router's arms."""
        self._reporting.add(arm)

    def uncounted(self, arms: Iterable[Arm]) -> tuple[ArmId, ...]:
        """Return the arms whose costs are unknown, where a setting needs them."""
        if not self.users:
            return ()
        return tuple(arm.id for arm in arms if arm.price is None and arm.id not in self._reporting)

    def report(self, arms: Iterable[Arm]) -> None:
        """Warn of arms without a price, once for each of them."""
        uncounted = self.uncounted(arms)
        if not self._warned.issuperset(uncounted):
            _log.warning(
                "models have no list price: their costs count only where the upstream reports them in its answers; "
                "give prices in MODEL_PRICES",
                models=uncounted[:MAX_NAMED],
                count=len(uncounted),
                settings=self.users,
            )
        self._warned |= frozenset(uncounted)
