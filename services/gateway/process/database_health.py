"""Health of PostgreSQL, where there is a history: the learners' reports, and what waits for it in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from services.gateway.process.health_part import Part
from shared.ports import Outbox
from shared.schemas.database_report import DatabaseReport

LATE_S = 60.0
"""Learners write once a second: an older entry has been left, whatever their reports say."""


class DatabaseReports(Protocol):
    """Reports of learners on PostgreSQL."""

    async def read(self) -> Mapping[str, DatabaseReport]:
        """Return the last report of each living learner. Raises DependencyError."""


class DatabaseHealth:
    """The part `postgres`."""

    def __init__(self, reports: DatabaseReports, outbox: Outbox) -> None:
        self._reports = reports
        self._outbox = outbox

    async def part(self) -> Part:
        """Return the state of PostgreSQL. Raises DependencyError where Redis cannot be asked."""
        reports, depth = (await self._reports.read()).values(), await self._outbox.depth()
        reasons = sorted({report.reason for report in reports if report.reason})
        if not reports:
            status, reasons = "unknown", ["no learner reports on it"]
        elif all(report.reason for report in reports):
            status = "down"
        else:
            status = "degraded" if reasons or depth.age_s > LATE_S else "ok"
        waits = f"{depth.waiting} waiting, oldest {depth.age_s:.0f} s, {depth.dropped} dropped"
        version = next((report.version for report in reports if report.version), None)
        return Part(status, version=version, detail="; ".join([*reasons, waits]))
