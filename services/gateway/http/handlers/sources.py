"""Evidence by source in `GET /arms`: how much each source has said, and how it differs from users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.bandit.evidence import SourceFit
from shared.bandit.posterior import known


def sources_as_json(sources: Sequence[SourceFit]) -> list[dict[str, Any]]:
    """Return what is believed of each source other than users, of all models."""
    return [
        {
            "source": fit.source.value,
            "scores": float(fit.labels.sum()),
            "shift": fit.shift,
            "bias_sd": fit.bias_sd,
        }
        for fit in sources
    ]


def sources_of_arm(sources: Sequence[SourceFit], column: int) -> dict[str, dict[str, float | None]]:
    """Return what each source has said of one model; a difference is null where users have not rated it as well."""
    return {
        fit.source.value: {
            "scores": float(fit.labels[column]),
            "difference": known(fit.differences[column]),
            "difference_sd": known(fit.errors[column]),
        }
        for fit in sources
    }
