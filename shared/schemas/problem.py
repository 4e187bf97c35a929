"""Error replies in OpenAI's shape: status, body and headers of each error that reaches a client.

The one table of HTTP statuses. `services/gateway/http/error_responses.py` turns a reply into a response; a stream whose
headers have left already carries the body as its last event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from shared.errors import (
    ClientError,
    Conflict,
    DependencyError,
    Forbidden,
    Gone,
    InsufficientCredit,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    UpstreamError,
    UpstreamFailed,
)

_STATUS: dict[type[ClientError], tuple[int, str]] = {
    InvalidRequest: (400, "invalid_request_error"),
    Unauthenticated: (401, "authentication_error"),
    InsufficientCredit: (402, "insufficient_quota"),
    Forbidden: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    MethodNotAllowed: (405, "invalid_request_error"),
    RequestTimeout: (408, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    Gone: (410, "invalid_request_error"),
    PayloadTooLarge: (413, "invalid_request_error"),
    UnsupportedMedia: (415, "invalid_request_error"),
    RateLimited: (429, "rate_limit_error"),
    UpstreamFailed: (502, "upstream_error"),
    Unavailable: (503, "server_error"),
}
_RETRYABLE = (429, 503)


class ErrorReply(NamedTuple):
    """Status, JSON body and headers of an error."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def problem(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Render `{"error": {"message", "type", "param", "code"}}` as UTF-8 JSON."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_reply(error: BaseException) -> ErrorReply:
    """Return the reply for any error. An error that was not raised on purpose is a 500 without details."""
    if isinstance(error, ClientError):
        return _of_client_error(error)
    if isinstance(error, UpstreamError):
        return _of_upstream_error(error)
    if isinstance(error, DependencyError):
        return _of_client_error(Unavailable("A part of the service is away.", code="dependency_unavailable"))
    body = problem("Something went wrong on our side.", kind="server_error", code="internal_error")
    return ErrorReply(500, body)


def _of_client_error(error: ClientError) -> ErrorReply:
    status, kind = next((known for base, known in _STATUS.items() if isinstance(error, base)), (500, "server_error"))
    if status == 502 and error.code == "upstream_timeout":
        status = 504
    headers: dict[str, str] = {}
    if status in _RETRYABLE or error.retry_after_s:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or 1))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ErrorReply(status, problem(str(error), kind=kind, code=error.code, param=error.param), headers)


def _of_upstream_error(error: UpstreamError) -> ErrorReply:
    if error.relay is not None and error.status is not None and 400 <= error.status < 500:
        return ErrorReply(error.status, error.relay)
    if error.timed_out:
        message, status, code = "The model did not answer in time.", 504, "upstream_timeout"
    else:
        message, status, code = "The model could not answer.", 502, "upstream_failed"
    return ErrorReply(status, problem(message, kind="upstream_error", code=code))
