"""Who calls, and what they may do: API keys, the admin role, and the routes that tell operators how things go.

Two roles, fixed in the settings: a user key asks, and sees and rates what it asked; an admin key sees and rates
everything. Keys are kept as SHA-256 alone. Every known key is compared, in full, so that the time tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from aiohttp import hdrs
from pydantic import SecretStr

from services.gateway.http.browser_origins import PageGuard, Sent, is_from_page
from services.gateway.request_context import ANYBODY, Caller
from shared.errors import Forbidden, Unauthenticated
from shared.settings import Settings

OPEN_ROUTES = frozenset({"/health", "/ready", "/openapi.json", "/docs", "/feedback/{token}"})
"""Answer without a key: probes, the contract, and links that are signed themselves."""

METRICS_ROUTE = "/metrics"
OPERATOR_ROUTES = frozenset({METRICS_ROUTE, "/arms", "/v1/arms"})
"""Tell of all traffic at once: for admin keys only, where there are any."""

CHANGING_ROUTES = frozenset({"/arms/{arm}", "/v1/arms/{arm}"})
"""Change what everybody is answered by: for admin keys only, as soon as there is any key at all."""

OWNER_DIGITS = 16


class Access:
    """Decides by the route that matched, never by the path as it was written."""

    def __init__(self, settings: Settings) -> None:
        self._users = _digests(settings.API_KEYS)
        self._admins = _digests(settings.ADMIN_API_KEYS)
        self._scrapers = _digests(() if settings.METRICS_TOKEN is None else (settings.METRICS_TOKEN,))
        self._pages = PageGuard(settings.ALLOWED_HOSTS)

    def admit(self, headers: Sent, route: str) -> Caller:
        """Return who calls. Raises Unauthenticated or Forbidden."""
        digest = self._key_of(headers)
        if route == METRICS_ROUTE and _among(digest, self._scrapers):
            return Caller()
        caller = self._caller(digest)
        if caller is not None and caller.owner == ANYBODY:
            caller = self._without_key(caller, headers, route)
        if route in OPEN_ROUTES:
            return caller or Caller()
        if caller is None:
            raise _unauthenticated(digest)
        if not caller.admin and self._guards(route):
            if digest is None or caller.owner == ANYBODY:
                raise _unauthenticated(digest)
            raise Forbidden("This needs an admin key.", code="admin_key_required")
        return caller

    def _without_key(self, caller: Caller, headers: Sent, route: str) -> Caller:
        """Keep out web pages that nobody here has let in. Raises Forbidden."""
        if self._pages.refuses(headers):
            if route in OPEN_ROUTES:
                return Caller()  # it hears what strangers hear where there are keys
            raise Forbidden(
                "Without a key, a web page is served under localhost or an IP address only. "
                "Name this host in ALLOWED_HOSTS, or set API_KEYS.",
                code="host_not_allowed",
            )
        if route in CHANGING_ROUTES and is_from_page(headers):
            raise Forbidden(
                "A web page may change this with an admin key only: set ADMIN_API_KEYS.", code="admin_key_required"
            )
        return caller

    def _guards(self, route: str) -> bool:
        """Return whether a route is for admin keys (or, where it is /metrics, METRICS_TOKEN) alone."""
        if route in CHANGING_ROUTES:
            return bool(self._admins or self._users)
        return route in OPERATOR_ROUTES and bool(self._admins or (route == METRICS_ROUTE and self._scrapers))

    def _caller(self, digest: str | None) -> Caller | None:
        """Return whom a key stands for; without API_KEYS, anybody may ask."""
        admin, user = _among(digest, self._admins), _among(digest, self._users)
        if digest is not None and (admin or user):
            return Caller(digest[:OWNER_DIGITS], admin=admin, operator=admin or not self._admins)
        return None if self._users else Caller(operator=not self._admins)

    @staticmethod
    def _key_of(headers: Sent) -> str | None:
        """Return the digest of the key that was sent, if any."""
        sent = headers.getall(hdrs.AUTHORIZATION, ())
        scheme, _, key = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        key = key.strip(" \t")  # RFC 9110: any number of blanks
        return digest_of(key) if scheme.lower() == "bearer" and key else None


def _unauthenticated(digest: str | None) -> Unauthenticated:
    """Return what to say where that is not enough."""
    if digest is None:
        return Unauthenticated(
            "Send your key once, as the header `Authorization: Bearer <key>`.", code="missing_api_key"
        )
    return Unauthenticated("The key is not known here.", code="invalid_api_key")


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, in hex; `owner` and KEY_LIMITS use its beginning."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _digests(keys: Iterable[SecretStr]) -> tuple[str, ...]:
    return tuple(digest_of(key.get_secret_value()) for key in keys)


def _among(digest: str | None, known: tuple[str, ...]) -> bool:
    return sum([hmac.compare_digest(digest or "", other) for other in known]) > 0
