"""Looks at the database every few seconds and tells the gateways, which do not talk to it themselves."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.learner.historian import Historian
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.resilience.supervision import Pulse
from shared.schemas.database_report import DatabaseReport

EVERY_S = 5.0
TTL_S = 30.0
"""Longer than a look at a database that does not answer takes."""

_log = get_logger(__name__)


class Database(Protocol):
    """What can be looked at."""

    async def ping(self) -> str:
        """Return the version of a server that takes writes. Raises DependencyError."""


class DatabaseReports(Protocol):
    """Where what was found goes."""

    async def report(self, worker: str, report: DatabaseReport, ttl_s: float) -> None:
        """Say what `worker` found, for `ttl_s` seconds. Raises DependencyError."""


class DatabaseWatch:
    """One learner's looks: a ping, and what the last attempt to write has met."""

    def __init__(self, worker: str, database: Database, historian: Historian, reports: DatabaseReports) -> None:
        self._worker = worker
        self._database = database
        self._historian = historian
        self._reports = reports

    async def run(self, pulse: Pulse) -> None:
        """Look until cancelled."""
        while True:
            pulse.begin()
            await self.look()
            pulse.end()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Look once, and report."""
        try:
            report = DatabaseReport(version=await self._database.ping(), reason=self._historian.trouble)
        except DependencyError as error:
            report = DatabaseReport(reason=error.reason or "it does not answer")
        try:
            await self._reports.report(self._worker, report, TTL_S)
        except DependencyError as error:
            _log.debug("no report on the database", reason=str(error))
