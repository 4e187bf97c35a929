"""The models that `free` in LLM_MODELS stands for, chosen from the upstream's list.

The rule is `shared/bandit/free_arms.py`. Each reading of the list may change the choice. It is kept in Redis
(`SharedFreeArms` in `arm_list.py`): other gateways take it over within a second or two, and a restart begins with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared.bandit.arms import Arm, ArmId
from shared.bandit.free_arms import filled, qualifies
from shared.logs import get_logger

_log = get_logger(__name__)

MAX_ABSENCES = 2
"""A model that is missing from this many readings in a row leaves; a list may be incomplete once."""


class FreeArms:
    """One gateway's view of the choice."""

    def __init__(self) -> None:
        self.chosen: tuple[ArmId, ...] = ()
        self._listed: Mapping[ArmId, Arm] = {}
        self._absences = Counter[ArmId]()

    @property
    def arms(self) -> tuple[ArmId, ...]:
        """Return the chosen arms without those that are listed with a price by now: they cost money."""
        return tuple(arm for arm in self.chosen if arm not in self._listed or qualifies(self._listed[arm]))

    def read(self, listed: Mapping[ArmId, Arm]) -> None:
        """Choose anew, after the upstream's list was read."""
        self._listed = listed
        if not listed:
            return
        self._absences = Counter({arm: self._absences[arm] + 1 for arm in self.chosen if arm not in listed})
        kept = tuple(arm for arm in self.arms if self._absences[arm] < MAX_ABSENCES)
        if not any(arm in listed for arm in kept):  # the list of another upstream
            kept = ()
        self._take(filled(kept, listed.values()))

    def adopt(self, chosen: tuple[ArmId, ...]) -> None:
        """Take over what another gateway, or this one before its restart, has chosen."""
        self._take(chosen)

    def _take(self, chosen: tuple[ArmId, ...]) -> None:
        before, self.chosen = self.chosen, chosen
        if not before and chosen:
            _log.info("free models chosen", number=len(chosen), arms=chosen)
        elif set(before) != set(chosen):
            joined, left = [sorted(set(one) - set(other)) for one, other in ((chosen, before), (before, chosen))]
            _log.info("free models chosen", arms=chosen, joined=joined, left=left)
