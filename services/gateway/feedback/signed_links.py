"""Signed links: the holder of a link may rate one answer, once, without a key.

    /feedback/<own id>.<HMAC-SHA256 of it under FEEDBACK_LINK_SECRET, 128 bits>

The link needs no memory: it names the request, and dies with the time in which that can be rated. That it works once is
kept with the request itself (`rate.lua`).
"""

from __future__ import annotations

import hashlib
import hmac

from pydantic import SecretStr

from shared.errors import Forbidden, NotFound

_DIGITS = 32
_PURPOSE = b"llm-router feedback link v1\n"
"""Separates these signatures from others that the same secret may make one day."""


class SignedLinks:
    """Creates and checks links; without a secret there are none."""

    def __init__(self, secret: SecretStr | None) -> None:
        self._secret = None if secret is None else secret.get_secret_value().encode("utf-8", "surrogateescape")

    def path(self, own_id: str) -> str | None:
        """Return the link of a request, a path of this gateway; None without a secret."""
        return None if self._secret is None else f"/feedback/{own_id}.{_sign(self._secret, own_id)}"

    def own_id(self, token: str) -> str:
        """Return the request id of a link's token. Raises Forbidden for an invalid signature."""
        if self._secret is None:
            raise NotFound("There is nothing at this path.", code="not_found")
        own_id, _, signature = token.rpartition(".")
        expected = _sign(self._secret, own_id)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
            raise Forbidden("The signature of this link is not valid.", code="invalid_link")
        return own_id


def _sign(secret: bytes, own_id: str) -> str:
    message = _PURPOSE + own_id.encode("utf-8", "surrogateescape")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:_DIGITS]
