"""Whether this process wants new requests: `/ready` asks here, SIGTERM tells it."""

from __future__ import annotations


class Readiness:
    """Serving until told to drain; there is no way back."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Stop asking for traffic; what is open is finished."""
        self.draining = True
