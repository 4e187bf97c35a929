"""HTTP responses for errors: `shared/schemas/problem.py` has the table of statuses, this adds what aiohttp raises."""

from __future__ import annotations

from aiohttp import hdrs, web

from shared.schemas.problem import ErrorReply, error_reply, problem

_CLOSING = (408, 413)
"""The body has not been read to its end, so the connection cannot be used again."""

_HTTP_CODES = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method."),
    413: ("body_too_large", "The body is too large."),
    417: ("expectation_failed", "The only expectation understood is 100-continue."),
}


class Problem(web.Response):
    """An error response. It hides the server's name even where no signal of the application runs."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(status=reply.status, body=reply.body, headers=reply.headers, content_type="application/json")
        if reply.status in _CLOSING:
            self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


def reply_to(error: BaseException, hint: str = "") -> ErrorReply:
    """Return the reply to any error; `hint` is the message for a path or method that does not exist."""
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _of_http_exception(error, hint)
    return error_reply(error)


def problem_response(error: BaseException) -> Problem:
    """Return the response to any error."""
    return Problem(reply_to(error))


def bad_request() -> Problem:
    """Return the response to bytes that are not HTTP."""
    body = problem("This is not valid HTTP.", kind="invalid_request_error", code="bad_request")
    return Problem(ErrorReply(400, body))


def _of_http_exception(error: web.HTTPException, hint: str) -> ErrorReply:
    code, message = _HTTP_CODES.get(error.status, (f"http_{error.status}", f"{error.reason}."))
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    headers = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
    return ErrorReply(error.status, problem(hint or message, kind=kind, code=code), headers)
