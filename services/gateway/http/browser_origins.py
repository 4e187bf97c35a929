"""Which web pages may call where no key is asked for.

A page of a stranger reaches a gateway on this machine or in this network by DNS rebinding: its own name is made to
resolve to the gateway's address, so that to the browser the gateway belongs to the page. What it cannot change is the
name that it was opened by, and that is the request's `Host`. So without keys a browser is served under names that no
stranger controls alone: loopback names, IP addresses, and ALLOWED_HOSTS.

A request is a browser's where it has an `Origin`, any `Sec-Fetch-*` header, or a browser's `User-Agent`: over plain
HTTP a rebound page's GET has none of the others. `Sec-Fetch-Mode: cors` alone is what Node's `fetch` sends; browsers
never send it without `Sec-Fetch-Site`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Protocol

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")
_USUAL_PORTS = ("80", "443")
"""Browsers leave them out."""

_SIGNS = ("origin", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user", "sec-fetch-storage-access")
_NONE: tuple[str, ...] = ()


class Sent(Protocol):
    """Headers of a request."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all of a name, or the default."""


def is_from_page(headers: Sent) -> bool:
    """Return whether a browser sent this, as far as it can be seen."""
    for name in _SIGNS:
        if headers.getall(name, _NONE):
            return True
    for mode in headers.getall("sec-fetch-mode", _NONE):
        if mode != "cors":
            return True
    return any(agent.startswith("Mozilla/") for agent in headers.getall("user-agent", _NONE))


class PageGuard:
    """Knows the names under which pages are served without a key."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        self._is_allowed = lru_cache(maxsize=256)(self._look)

    def refuses(self, headers: Sent) -> bool:
        """Return whether this is a page under a name that may be a stranger's."""
        sent = headers.getall("host", _NONE)
        return not (len(sent) == 1 and self._is_allowed(sent[0])) and is_from_page(headers)

    def _look(self, sent: str) -> bool:
        found = _HOST.fullmatch(sent.strip().lower())
        if "*" in self._allowed:
            return True
        if found is None:
            return False
        host, port = found[1].removesuffix("."), found[2]
        if host == "localhost" or host.endswith(".localhost") or _is_address(host):
            return True
        ports = (port,) if port else _USUAL_PORTS
        return host in self._allowed or any(f"{host}:{each}" in self._allowed for each in ports)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return False
    return True
