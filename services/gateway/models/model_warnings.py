"""Warnings about models that the settings name and the upstream does not list, each logged when it changes."""

from __future__ import annotations

from collections.abc import Sequence

from shared.bandit.arms import ArmId, Price
from shared.logs import get_logger

_log = get_logger(__name__)


class ModelWarnings:
    """Remembers the last warnings, so that none is repeated."""

    def __init__(self) -> None:
        self._missing: Sequence[str] = ()
        self._without_free: str | None = None
        self._default: tuple[object, ...] = ()

    def missing(self, names: Sequence[str], used: Sequence[ArmId]) -> None:
        """Warn of models that are not in the upstream's list; `used`: the arms instead."""
        if names and names != self._missing:
            _log.warning("models are not in the upstream's list", missing=names, used=used)
        self._missing = names

    def without_free(self, why: str | None, used: Sequence[ArmId]) -> None:
        """Warn that no model was found for `free` in LLM_MODELS, and why; None where one was found."""
        if why is not None and why != self._without_free:
            instead = "only the models in `used` answer" if used else "and no other is named, so chat gets 503"
            _log.warning(f"no free model is known, {instead}: name models in LLM_MODELS", why=why, used=used)
        self._without_free = why

    def default(
        self, configured: str, used: ArmId | None, price: Price | None, *, listed: bool, safe_start: bool = False
    ) -> None:
        """Warn of a DEFAULT_MODEL that is not listed, with the model that replaces it and its price."""
        before, self._default = self._default, (configured, used, price, listed)
        if listed or before == self._default:
            return
        if used is None:
            said = "DEFAULT_MODEL is not in the upstream's list, nor is one of its family"
            _log.warning(said + ("; SAFE_START has no effect" if safe_start else ""), model=configured)
            return
        said = "DEFAULT_MODEL is not in the upstream's list: the newest model of its family replaces it"
        _log.warning(said, model=configured, used=used, usd_per_million_tokens=_per_million(price))


def _per_million(price: Price | None) -> str:
    if price is None:
        return "unknown"
    return f"{price.prompt_usd * 1e6:.6g} prompt, {price.completion_usd * 1e6:.6g} completion"
