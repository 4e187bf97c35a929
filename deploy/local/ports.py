"""Which TCP port a part gets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection

from shared.errors import SettingsError


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError:
            return False
        return True


class PortChooser:
    """Hands out ports, each once, and says where one is not the usual one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._given: set[int] = set()

    def choose(self, name: str, host: str, wanted: int, *, fixed: str | None) -> int:
        """Return `wanted` or the next free port above it.

        `fixed` is the setting that names the port, if the user set it: then nothing else will do, and a port that is
        taken raises SettingsError.
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
