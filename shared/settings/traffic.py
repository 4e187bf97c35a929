"""Settings of what is kept of the traffic for the dashboard."""

from __future__ import annotations

from pydantic import BaseModel, Field

from shared.schemas.traffic import TrafficBounds


class TrafficSettings(BaseModel):
    """Settings of the list of requests and of the figures over time."""

    # -- traffic
    REQUESTS_LISTED: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="Latest requests in `GET /requests`, of each key and of all; 0: none",
    )
    STATS_DAYS: int = Field(
        30, ge=0, le=400, description="Days that `GET /stats`, `GET /posteriors` and `GET /spend` go back; 0: none"
    )

    @property
    def traffic_bounds(self) -> TrafficBounds:
        """Bounds of what Redis keeps of the traffic."""
        return TrafficBounds(self.REQUESTS_LISTED, self.STATS_DAYS)
