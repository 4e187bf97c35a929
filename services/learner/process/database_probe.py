"""Probe of PostgreSQL. It publishes the result to the gateways, which have no connection of their own."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.learner.writers.history_writer import HistoryWriter
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.resilience.supervision import Pulse
from shared.schemas.database_report import DatabaseReport

EVERY_S = 5.0
TTL_S = 30.0
"""Longer than a probe of a database that does not answer."""

_log = get_logger(__name__)


class Database(Protocol):
    """The probed database."""

    async def ping(self) -> str:
        """Return the version of a server that accepts writes. Raises DependencyError."""


class DatabaseReports(Protocol):
    """Store of probe results."""

    async def report(self, worker: str, report: DatabaseReport, ttl_s: float) -> None:
        """Store the result of `worker` for `ttl_s` seconds. Raises DependencyError."""


class DatabaseProbe:
    """Background loop of one learner: pings the database, and reports the last failure of the history writer."""

    def __init__(
        self, worker: str, database: Database, history_writer: HistoryWriter, reports: DatabaseReports
    ) -> None:
        self._worker = worker
        self._database = database
        self._historian = history_writer
        self._reports = reports

    async def run(self, pulse: Pulse) -> None:
        """Probe until cancelled."""
        while True:
            pulse.begin()
            await self.probe()
            pulse.end()
            await asyncio.sleep(EVERY_S)

    async def probe(self) -> None:
        """Probe once and publish the result."""
        try:
            report = DatabaseReport(version=await self._database.ping(), reason=self._historian.trouble)
        except DependencyError as error:
            report = DatabaseReport(reason=error.reason or "it does not answer")
        try:
            await self._reports.report(self._worker, report, TTL_S)
        except DependencyError as error:
            _log.debug("database report failed", reason=str(error))
