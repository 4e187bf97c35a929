"""Free models: chosen from the upstream's list for the word `free` in LLM_MODELS.

`shared/bandit/free_arms.py` has the rule. Each time the list is read, the choice may change. Redis stores it
(`SharedFreeArms` in `runtime_models.py`), so other gateways follow within a second or two, and a restart keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared.bandit.arms import Arm, ArmId
from shared.bandit.free_arms import filled, qualifies
from shared.logs import get_logger

_log = get_logger(__name__)

MAX_ABSENCES = 2
"""A model is dropped when this many lists in a row lack it: a single list may be incomplete."""


class FreeArms:
    """The choice of one gateway."""

    def __init__(self) -> None:
        self.chosen: tuple[ArmId, ...] = ()
        self._listed: Mapping[ArmId, Arm] = {}
        self._absences = Counter[ArmId]()

    @property
    def arms(self) -> tuple[ArmId, ...]:
        """Return the chosen arms that are still free: those that are listed with a price by now are left out."""
        return tuple(arm for arm in self.chosen if arm not in self._listed or qualifies(self._listed[arm]))

    def read(self, listed: Mapping[ArmId, Arm]) -> None:
        """Update the choice from a list that was just read."""
        self._listed = listed
        if not listed:
            return
        self._absences = Counter({arm: self._absences[arm] + 1 for arm in self.chosen if arm not in listed})
        kept = tuple(arm for arm in self.arms if self._absences[arm] < MAX_ABSENCES)
        if not any(arm in listed for arm in kept):  # the upstream is another one now
            kept = ()
        self._take(filled(kept, listed.values()))

    def adopt(self, chosen: tuple[ArmId, ...]) -> None:
        """Use the choice of another gateway, or of this one before its restart."""
        self._take(chosen)

    def _take(self, chosen: tuple[ArmId, ...]) -> None:
        before, self.chosen = self.chosen, chosen
        if not before and chosen:
            _log.info("free models chosen", number=len(chosen), arms=chosen)
        elif set(before) != set(chosen):
            joined, left = [sorted(set(one) - set(other)) for one, other in ((chosen, before), (before, chosen))]
            _log.info("free models chosen", arms=chosen, joined=joined, left=left)
