"""Warning for a router that requires no key."""

from __future__ import annotations

import ipaddress

from shared.settings.model import Settings


def access_warning(settings: Settings, *, host: str | None = None, port: int | None = None) -> str | None:
    """Return a sentence for log, banner and `--check-config`; None with API_KEYS. `host`, `port`: where it listens."""
    if settings.API_KEYS:
        return None
    host = settings.HOST if host is None else host
    port = (settings.SHARED_PORT or settings.PORT) if port is None else port
    who = f"anybody on this machine ({host}:{port})" if _is_loopback(host) else f"anybody who can reach {host}:{port}"
    return f"API_KEYS is empty: {who} may use this router and spend its upstream's credit. Set API_KEYS."


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
