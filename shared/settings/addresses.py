"""Validation of hosts and addresses: an address is parsed completely at the start, not at its first use."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from shared.settings.text import BadText

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_ENCODE = "percent-encode / ? # @ in a user's name or password (# is %23, / is %2F, ? is %3F, @ is %40)"
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")
_OPTIONS = re.compile(r"[A-Za-z_]+=[^&=]+(?:&[A-Za-z_]+=[^&=]+)*")


# -- hosts -----------------------------------------------------------------------------------------------------------


def check_host(text: str) -> str:
    """Return a host name or IP address, IPv6 without its brackets. Raises BadText."""
    if text.startswith("[") and text.endswith("]"):
        text = _ipv6(text[1:-1])
    elif ":" in text:
        text = _ipv6(text)
    else:
        labels = text.removesuffix(".").split(".")
        if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            raise BadText("the host is neither a name nor an IP address")
        if labels[-1].isdigit() and not _is_ipv4(text):
            raise BadText("the host is not an IPv4 address")
    return text


def _ipv6(text: str) -> str:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise BadText("the host is neither a name nor an IP address; a port does not belong here") from None
    return text


def _is_ipv4(text: str) -> bool:
    try:
        socket.inet_aton(text)
    except OSError:
        return False
    return True


def check_port(text: str) -> int:
    """Return a port. Raises BadText."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise BadText("the port is not a whole number, 1 to 65535")
    return int(text)


def check_authority(text: str) -> str:
    """Check `host` or `host:port`; an IPv6 host is in brackets. Raises BadText."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", text)
    if found is None:
        raise BadText("the host is not valid; an IPv6 address stands in brackets: [::1]")
    if not found[1]:
        raise BadText("the host is missing")
    check_host(found[1])
    if found[2] is not None:
        check_port(found[2])
    return text


def check_database_host(text: str) -> str:
    """Check a comma-separated list of hosts or socket folders, as libpq accepts it."""
    for host in text.split(","):
        if not host.startswith(("/", "@")):
            check_host(host)
    return text


# -- addresses -------------------------------------------------------------------------------------------------------


def _parts_of(text: str, schemes: tuple[str, ...]) -> SplitResult:
    """Split an address. Raises ValueError without another scheme, BadText where it cannot be read whole."""
    scheme, mark, _ = text.partition("://")
    if not mark or scheme.lower() not in schemes:
        raise ValueError("another scheme")
    if any(character.isspace() for character in text):
        raise BadText("it has a blank inside")
    if not text.isascii():
        raise BadText("it must be ASCII: write a host as punycode (xn--), and percent-encode the rest")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise BadText("brackets belong around an IPv6 address only: http://[::1]:80") from None
    if "#" in text:
        raise BadText(f"it has a # inside; {_ENCODE}")
    if "@" in parts.path + parts.query and "@" not in parts.netloc:
        raise BadText(f"the @ comes too late; {_ENCODE}")
    return parts


def check_url(text: str, *, query: bool = False) -> str:
    """Check an http(s) address; `query`: whether it may have one. Raises BadText; ValueError for another scheme."""
    parts = _parts_of(text, ("http", "https"))
    check_authority(parts.netloc.rpartition("@")[2])
    if not _PATH.fullmatch(parts.path):
        raise BadText("its path holds a character that must be percent-encoded")
    if "?" in text and not query:
        raise BadText("it has a query (?...), which would not be sent")
    if parts.query and not _QUERY.fullmatch(parts.query):
        raise BadText("its query holds a character that must be percent-encoded")
    return text


def check_upstream_url(text: str) -> str:
    """Check a base URL: API paths are appended to its path, and its query is sent with each call."""
    path = urlsplit(check_url(text, query=True)).path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise BadText("write the base URL, without /chat/completions")
    return text


def check_origin(text: str) -> str:
    """Check an entry of CORS_ORIGINS; return it as browsers write it."""
    if text in {"*", "null"}:  # a page from a file has the origin `null`
        return text
    scheme, mark, host = text.lower().rstrip("/").partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise BadText("an origin is *, or a scheme, host and port: https://app.example.com")
    if "/" in host or "?" in host or "#" in host or "@" in host:
        raise BadText("an origin has no path: https://app.example.com")
    check_authority(host)
    return f"{scheme}://{host.removesuffix(_USUAL_PORTS.get(scheme, ' '))}"


def check_allowed_host(text: str) -> str:
    """Check an entry of ALLOWED_HOSTS; return it in lower case."""
    if "/" in text:
        raise BadText("an entry is *, or a host without scheme: router.example.com or router.example.com:8080")
    return "*" if text == "*" else check_authority(text).lower()


def check_redis_url(text: str) -> str:
    """Check a Redis address by our rules and by the client's. Raises BadText or ValueError."""
    parts = _parts_of(text, ("redis", "rediss", "unix"))
    if parts.query and not _OPTIONS.fullmatch(parts.query):
        raise BadText(f"its options are not name=value&name=value; {_ENCODE}")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise BadText("the path of the socket is missing: unix:///run/redis.sock")
    else:
        try:
            check_authority(parts.netloc.rpartition("@")[2])
        except BadText as error:
            raise BadText(f"{error}; {_ENCODE}" if parts.netloc.count(":") != 1 else str(error)) from None
        if not re.fullmatch(r"/?|/\d{1,9}", parts.path):
            raise BadText(f"behind the host stands the number of the database, as in /0; {_ENCODE}")
    _ask_redis_client(text)
    return text


def _ask_redis_client(url: str) -> None:
    from redis.asyncio.connection import ConnectionPool  # noqa: PLC0415 - where there is no Redis, it is not loaded

    try:
        pool = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)  # it connects to nothing yet
    except Exception:  # noqa: BLE001 - whatever it says may hold a piece of the password
        raise BadText("its options (?name=value) are not those of a Redis client") from None


def check_database_url(secret: SecretStr) -> SecretStr:
    """Check a connection string as libpq parses it. Raises BadText, never with libpq's words: they quote it."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - most have no database
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        parts = conninfo_to_dict(secret.get_secret_value())
    except ProgrammingError:
        raise BadText(f"it is not an address such as postgresql://user:password@host:5432/name; {_ENCODE}") from None
    try:
        for port in str(parts["port"]).split(",") if parts.get("port") else ():
            check_port(port or "5432")
        check_database_host(str(parts.get("host") or "localhost"))
    except BadText as error:
        raise BadText(f"{error}; {_ENCODE}") from None
    if parts.get("sslmode") not in (None, *get_args(SslMode)):
        raise BadText(f"sslmode must be one of {', '.join(get_args(SslMode))}")
    return secret
