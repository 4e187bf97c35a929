"""From exceptions to answers in OpenAI's error shape. This is the one place that knows HTTP statuses."""

from __future__ import annotations

import math

from aiohttp import hdrs, web

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
from shared.schemas.problem import problem

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
_CLOSING = (408, 413)
"""The body has not been read to its end, so the connection cannot be used again."""

_HTTP_CODES = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method."),
    413: ("body_too_large", "The body is too large."),
    417: ("expectation_failed", "The only expectation understood is 100-continue."),
}


class Problem(web.Response):
    """An error answer. It hides the server's name even where no signal of the application runs."""

    def __init__(self, status: int, kind: str, message: str, code: str, param: str | None = None) -> None:
        super().__init__(
            status=status,
            body=problem(message, kind=kind, code=code, param=param),
            content_type="application/json",
        )

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


def problem_response(error: BaseException, hint: str = "") -> web.Response:
    """Return the answer for any error. What we did not raise on purpose says nothing of itself.

    `hint` is the message for a path or method that does not exist.
    """
    if isinstance(error, ClientError):
        return _of_client_error(error)
    if isinstance(error, UpstreamError):
        return _of_upstream_error(error)
    if isinstance(error, DependencyError):
        return _of_client_error(Unavailable("A part of the service is away.", code="dependency_unavailable"))
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _of_http_exception(error, hint)
    return Problem(500, "server_error", "Something went wrong on our side.", "internal_error")


def _of_client_error(error: ClientError) -> web.Response:
    status, kind = next((known for base, known in _STATUS.items() if isinstance(error, base)), (500, "server_error"))
    if status == 502 and error.code == "upstream_timeout":
        status = 504
    response = Problem(status, kind, str(error), error.code, error.param)
    if status in _RETRYABLE or error.retry_after_s:
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(error.retry_after_s or 1))
    if status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if status in _CLOSING:
        response.force_close()
    return response


def _of_upstream_error(error: UpstreamError) -> web.Response:
    if error.relay is not None and error.status is not None and 400 <= error.status < 500:
        return web.Response(status=error.status, body=error.relay, content_type="application/json")
    if error.timed_out:
        return Problem(504, "upstream_error", "The model did not answer in time.", "upstream_timeout")
    return Problem(502, "upstream_error", "The model could not answer.", "upstream_failed")


def _of_http_exception(error: web.HTTPException, hint: str) -> web.Response:
    code, message = _HTTP_CODES.get(error.status, (f"http_{error.status}", f"{error.reason}."))
    message = hint or message
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    response = Problem(error.status, kind, message, code)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    if error.status in _CLOSING:
        response.force_close()
    return response
