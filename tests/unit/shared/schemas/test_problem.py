"""The one error body: status, headers and shape by the kind of error."""

from __future__ import annotations

import orjson
import pytest

from shared.errors import RateLimited, Unauthenticated, Unavailable, UpstreamError, UpstreamFailed
from shared.schemas.problem import error_reply


def test_an_upstream_that_is_late_is_504_and_one_that_fails_502() -> None:
    """Clients and proxies tell a time-out from a fault."""
    late, failed = (UpstreamFailed("x", code=code) for code in ("upstream_timeout", "upstream_error"))
    assert [error_reply(error).status for error in (late, failed)] == [504, 502]
    assert error_reply(UpstreamError("x", timed_out=True)).status == 504
    assert error_reply(UpstreamError("x")).status == 502


@pytest.mark.parametrize("kind", [RateLimited, Unavailable])
def test_what_passes_says_when_to_come_again(kind: type[RateLimited | Unavailable]) -> None:
    """Retry-After is whole seconds, rounded up, and 1 where no time is known."""
    assert error_reply(kind("x", code="c")).headers["Retry-After"] == "1"
    assert error_reply(kind("x", code="c", retry_after_s=2.1)).headers["Retry-After"] == "3"


def test_a_missing_key_names_the_scheme() -> None:
    """RFC 9110: 401 comes with WWW-Authenticate."""
    reply = error_reply(Unauthenticated("x", code="missing_api_key"))
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert orjson.loads(reply.body)["error"]["code"] == "missing_api_key"
