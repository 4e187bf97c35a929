"""Readiness of this process for traffic: `/ready` reads it, SIGTERM ends it."""

from __future__ import annotations


class Readiness:
    """Ready until drained; there is no way back."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Ask for no more traffic; requests in flight are finished."""
        self.draining = True
