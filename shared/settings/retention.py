"""Settings of how long what a request leaves is kept."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RetentionSettings(BaseModel):
    """Retention of what a rating needs (and a week longer), of stories and of points."""

    # -- retention
    FEEDBACK_WINDOW_HOURS: float = Field(168.0, gt=0, le=8760, description="Time for rating a request")
    STORY_HOURS: float = Field(
        168.0,
        ge=0,
        le=8760,
        description="Time for which `GET /requests/{id}` shows a request; with ENABLE_PERSISTENCE PostgreSQL has it",
    )
    POINT_DAYS: float = Field(
        0.0, ge=0, le=3650, description="Days that rated requests stay in Qdrant; 0, or more than RECENCY_DAYS: those"
    )

    def point_days(self, recency_days: float) -> float:
        """Return how long rated requests stay in the index."""
        return min(self.POINT_DAYS or recency_days, recency_days)
