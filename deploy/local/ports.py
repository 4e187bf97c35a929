"""Choice of TCP ports."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection

from shared.errors import SettingsError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError:
            return False
        return True


def reachable(host: str) -> str:
    """Return a local address of a server bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


class PortChooser:
    """Port allocator: gives each port once, and reports a port that differs from the default."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._given: set[int] = set()

    def choose(self, name: str, host: str, wanted: int, *, fixed: str | None) -> int:
        """Return `wanted` or the next free port above it.

        `fixed` is the setting of the port when the user set it: then only `wanted` is allowed, and SettingsError is
        raised when it is taken.
        """
        if fixed is not None:
            if wanted in self._given or not is_free(host, wanted):
                raise SettingsError(f"{fixed}={wanted}: another process listens on this port; name a free one")
            self._given.add(wanted)
            return wanted
        port = _first(lambda candidate: candidate not in self._given and is_free(host, candidate), wanted)
        self._given.add(port)
        if port != wanted:
            self._say(f"port {wanted} is taken: {name} uses {port}")
        return port


def _first(fits: Callable[[int], bool], start: int) -> int:
    candidates: Collection[int] = range(start, min(start + 1000, 65536))
    found = next((port for port in candidates if fits(port)), None)
    if found is None:
        raise SettingsError(f"no free port from {start} on")
    return found
