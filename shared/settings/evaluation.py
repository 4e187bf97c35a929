"""Settings of evaluations: whether, how often and for how much other models and a judge look at requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from shared.settings.explain import Said
from shared.settings.field_types import KeyPrefixes, ModelName, OptionalPath


class EvaluationSettings(BaseModel):
    """Settings of evaluations. Without JUDGE_MODEL there are none."""

    # -- evaluations
    JUDGE_MODEL: Annotated[ModelName | None, Said("a model")] = Field(
        None, description="Model that scores answers; it sees prompts and answers. Empty: no evaluations"
    )
    JUDGE_RUBRIC: OptionalPath = Field(None, description="File with the judge's rubric; empty: the one of the package")
    EVALUATION_BUDGET_USD_PER_DAY: float = Field(
        1.0, ge=0, le=1_000_000, description="Spending a day (UTC) on other models' answers and the judge; 0: none"
    )
    EVALUATION_MAX_SHARE: float = Field(
        1.0, ge=0, le=1, description="Share of requests that are evaluated while the best model is uncertain"
    )
    EVALUATION_SHARE: float = Field(
        0.02, ge=0, le=1, description="Share of requests that are evaluated while the best model is known"
    )
    EVALUATION_MAX_WAITING: int = Field(
        16, ge=1, le=1_000_000, description="Evaluations that may wait or be in work; above it, skipped"
    )
    EVALUATION_OFF_KEYS: KeyPrefixes = Field(
        (), description="Keys whose requests are never evaluated, by the first 8 to 16 digits of their SHA-256"
    )
    CONTROL_SHARE: float = Field(
        0.0, ge=0, le=1, description="Share of conversations that DEFAULT_MODEL serves, to measure what routing gains"
    )
