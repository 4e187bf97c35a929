"""DNS rebinding protection: which web pages may call a gateway that needs no key.

An attacker's page reaches a gateway on this machine or in this network by DNS rebinding: its host name is made to
resolve to the gateway's address, so the browser takes the gateway for the page's own server. The page cannot change the
name that it was opened by, which is the request's `Host`. So without keys, browsers are served only under names that no
attacker controls: loopback names, IP addresses, and ALLOWED_HOSTS.

A request comes from a browser if it has an `Origin`, any `Sec-Fetch-*` header, or a browser's `User-Agent`. Over plain
HTTP the GET of a rebound page has only the last of these. `Sec-Fetch-Mode: cors` alone is what Node's `fetch` sends;
browsers never send it without `Sec-Fetch-Site`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Protocol

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")
_USUAL_PORTS = ("80", "443")
"""Browsers omit them from `Host`."""

_SIGNS = ("origin", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user", "sec-fetch-storage-access")
_NONE: tuple[str, ...] = ()


class Sent(Protocol):
    """Headers of a request."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all values of a name, or the default."""


def is_from_page(headers: Sent) -> bool:
    """Return whether the headers look like a browser's."""
    for name in _SIGNS:
        if headers.getall(name, _NONE):
            return True
    for mode in headers.getall("sec-fetch-mode", _NONE):
        if mode != "cors":
            return True
    return any(agent.startswith("Mozilla/") for agent in headers.getall("user-agent", _NONE))


class PageGuard:
    """The host names under which browsers are served without a key."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        self._is_allowed = lru_cache(maxsize=256)(self._look)

    def refuses(self, headers: Sent) -> bool:
        """Return whether this comes from a browser, under a name that an attacker may control."""
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
