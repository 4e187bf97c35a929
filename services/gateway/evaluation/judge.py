"""Judge of evaluations (JUDGE_MODEL) as the upstream lists it: its price, and what it can read."""

from __future__ import annotations

from services.gateway.models.catalogue import Catalogue
from shared.bandit.arms import Arm, ArmId
from shared.logs import get_logger
from shared.schemas.requirements import Requirements

ROOM_TOKENS = 4096
"""Of the judge's context for the rubric, the answers and the verdict."""

_MEDIA = frozenset({"image", "audio", "file", "video", "output:image", "output:audio"})

_log = get_logger(__name__)


class Judge:
    """The judge of this installation."""

    def __init__(self, name: ArmId, catalogue: Catalogue) -> None:
        self._name = name
        self._catalogue = catalogue
        self._reported: str | None = None
        self._arm: Arm | None = None

    @property
    def arm(self) -> Arm:
        """Return what the list has about it, as of the last `refresh`: to find a short name takes a while."""
        if self._arm is None:
            self._arm = self._find()
        return self._arm

    def _find(self) -> Arm:
        return self._catalogue.arm(self._catalogue.named(self._name) or self._name)

    def reads(self, needs: Requirements) -> bool:
        """Return whether it can read question and answer; images, files and audio only if the list says so."""
        arm = self.arm
        media = {feature.removeprefix("output:") for feature in needs.features & _MEDIA}
        if media and not (arm.input_modalities is not None and media <= arm.input_modalities):
            return False
        return arm.context_tokens is None or needs.prompt_tokens + ROOM_TOKENS <= arm.context_tokens

    def refresh(self) -> None:
        """Look it up again, and log, when that changes, why nothing can be evaluated."""
        self._arm = self._find()
        trouble = self.trouble
        if trouble != self._reported:
            if trouble is None:
                _log.info("evaluations are possible", judge=self._name)
            else:
                _log.warning(f"nothing is evaluated: {trouble}", judge=self._name)
        self._reported = trouble

    @property
    def trouble(self) -> str | None:
        """Return why nothing can be evaluated, or None."""
        catalogue = self._catalogue
        if catalogue.lists.of(self._name).is_read and catalogue.named(self._name) is None:
            return "the upstream does not list JUDGE_MODEL"
        if catalogue.lists.age_s is not None and self.arm.price is None:
            return "the price of JUDGE_MODEL is unknown, so no budget can hold; set it in MODEL_PRICES"
        return None
