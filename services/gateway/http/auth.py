"""Authentication and authorization: API keys, the admin role, and routes for operators.

There are two roles, fixed in the settings. A user key sends requests, and sees and rates its own; an admin key sees and
rates all. Only SHA-256 digests of keys are kept. A key is compared with every known one in constant time.
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

OPEN_ROUTES = frozenset({"/health", "/ready", "/openapi.json", "/docs", "/feedback/{token}", "/ui", "/ui/{file}"})
"""Routes that need no key: probes, the OpenAPI document, signed links, and the dashboard without its data."""

METRICS_ROUTE = "/metrics"
_SHOWN = ("/arms", "/settings", "/stats", "/posteriors", "/dead-letters")
OPERATOR_ROUTES = frozenset({METRICS_ROUTE, *_SHOWN, *(f"/v1{route}" for route in _SHOWN)})
"""Routes that show the traffic of all keys, or the settings: for admin keys only, if there are any."""

_CHANGED = ("/arms/{arm}", "/dead-letters/requeue")
CHANGING_ROUTES = frozenset({*_CHANGED, *(f"/v1{route}" for route in _CHANGED)})
"""Routes that change what serves all requests: for admin keys only, if there is any key at all."""

API_KEY = "x-api-key"
"""Anthropic's clients send their key in this header."""

OWNER_DIGITS = 16


class Access:
    """Access control by the route that matched, never by the path as it was sent."""

    def __init__(self, settings: Settings) -> None:
        self._users = _digests(settings.API_KEYS)
        self._admins = _digests(settings.ADMIN_API_KEYS)
        self._scrapers = _digests(() if settings.METRICS_TOKEN is None else (settings.METRICS_TOKEN,))
        self._any_source = settings.FEEDBACK_SOURCE_KEYS
        self._pages = PageGuard(settings.ALLOWED_HOSTS)

    def admit(self, headers: Sent, route: str) -> Caller:
        """Return the caller. Raises Unauthenticated or Forbidden."""
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
        """Return the caller of a request without a key. Raises Forbidden for web pages of other hosts."""
        if self._pages.refuses(headers):
            if route in OPEN_ROUTES:
                return Caller()  # with the view of a client without a key
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
        """Return whether a route is for admin keys (and /metrics also for METRICS_TOKEN) only."""
        if route in CHANGING_ROUTES:
            return bool(self._admins or self._users)
        return route in OPERATOR_ROUTES and bool(self._admins or (route == METRICS_ROUTE and self._scrapers))

    def _caller(self, digest: str | None) -> Caller | None:
        """Return the caller of a key, None for an unknown one. Without API_KEYS any client is a caller."""
        admin, user = _among(digest, self._admins), _among(digest, self._users)
        if digest is not None and (admin or user):
            any_source = admin or digest.startswith(self._any_source)
            return Caller(digest[:OWNER_DIGITS], admin, operator=admin or not self._admins, any_source=any_source)
        return None if self._users else Caller(operator=not self._admins, any_source=not self._admins)

    @staticmethod
    def _key_of(headers: Sent) -> str | None:
        """Return the digest of the key that was sent, if any."""
        sent = headers.getall(hdrs.AUTHORIZATION, ())
        scheme, _, key = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        key = key.strip(" \t")  # RFC 9110: any number of blanks
        if not sent:
            own = headers.getall(API_KEY, ())
            scheme, key = "bearer", own[0].strip() if len(own) == 1 else ""
        return digest_of(key) if scheme.lower() == "bearer" and key else None


def _unauthenticated(digest: str | None) -> Unauthenticated:
    """Return the error for a missing or an unknown key."""
    if digest is None:
        return Unauthenticated(
            "Send your key once, as the header `Authorization: Bearer <key>` or `x-api-key: <key>`.",
            code="missing_api_key",
        )
    return Unauthenticated("The key is not known here.", code="invalid_api_key")


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, in hex; `owner` and KEY_LIMITS use its beginning."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _digests(keys: Iterable[SecretStr]) -> tuple[str, ...]:
    return tuple(digest_of(key.get_secret_value()) for key in keys)


def _among(digest: str | None, known: tuple[str, ...]) -> bool:
    return sum([hmac.compare_digest(digest or "", other) for other in known]) > 0
