"""Route to an upstream: proxy or none, and the certificate authorities for TLS.

The variables are those that curl, requests and httpx read. A proxy is for the upstream alone: embedder, Qdrant, Redis
and PostgreSQL are always reached directly.

`NO_PROXY` is a list with commas, of

    *                   everything is reached directly
    example.com         the host and all below it; .example.com is the same
    example.com:8443    the same, for one port
    10.0.0.0/8          IP addresses of a network, where the upstream is given by address
    [::1]:8080, ::1     IPv6, with or without a port

Names are not resolved. Loopback addresses are reached by the proxy, too, unless they are listed, as in curl and httpx.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import SettingsError
from shared.quick_http.proxy import Proxy
from shared.settings import Settings
from shared.settings.addresses import check_authority

_DIRECT = "reach it directly with NO_PROXY, or name an http:// proxy"


def upstream_proxy(settings: Settings, base_url: str) -> tuple[str, Proxy] | None:
    """Return the setting that names an upstream's proxy, and the proxy; None: directly. Raises SettingsError."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    name, url = "HTTP_PROXY", settings.HTTP_PROXY
    if parts.scheme == "https":
        name, url = "HTTPS_PROXY", settings.HTTPS_PROXY
    if not url:
        name, url = "ALL_PROXY", settings.ALL_PROXY
    if not url or _is_excepted(host.lower(), port, settings.NO_PROXY):
        return None
    return name, _proxy(name, url)


def _proxy(name: str, url: str) -> Proxy:
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "http", url
    if scheme.lower() != "http":
        # The scheme alone is shown: what is behind it may hold a password.
        shown = scheme.lower() if scheme.isalnum() and len(scheme) < 12 else "another scheme"
        raise SettingsError(f"{name}: {shown}:// proxies are not supported; {_DIRECT}")
    try:
        check_authority(rest.rstrip("/").rpartition("@")[2])
        return Proxy.of_url(f"http://{rest}")
    except ValueError:
        raise SettingsError(f"{name}: not an address such as http://user:password@proxy:3128") from None


def _is_excepted(host: str, port: int, entries: tuple[str, ...]) -> bool:
    return any(_matches(entry.lower(), host, port) for some in entries for entry in some.split())


def _matches(entry: str, host: str, port: int) -> bool:
    entry = entry.rpartition("://")[2]
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and (":" not in name or name.startswith("[")):
        if int(only) != port:
            return False
        entry = name
    if address is not None:
        return _address(entry.strip("[]")) == address
    entry = entry.lstrip("*").strip(".")
    host = host.rstrip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def upstream_tls(base_url: str, bundle: Path | None) -> ssl.SSLContext | None:
    """Return the TLS context of an https upstream; None for http. Raises SettingsError.

    The authorities are those of `bundle` (UPSTREAM_CA_BUNDLE), else of SSL_CERT_FILE, else the system's.
    """
    context = None if bundle is None else _trusting("UPSTREAM_CA_BUNDLE", bundle)
    if urlsplit(base_url).scheme != "https":
        return None
    if context is None and os.environ.get("SSL_CERT_FILE"):  # OpenSSL reads it itself, and is silent where it cannot
        context = _trusting("SSL_CERT_FILE", Path(os.environ["SSL_CERT_FILE"]))
    return context or ssl.create_default_context()


def _trusting(name: str, bundle: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(bundle))
    except ssl.SSLError:
        reason = "it holds no certificate in PEM format"
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    raise SettingsError(f"{name}: {bundle}: {reason}")
