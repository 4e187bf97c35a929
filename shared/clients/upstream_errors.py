"""What a failed upstream call means: for the next arm, for the bill, and for the client.

| failure                                   | next arm | may be billed |
|-------------------------------------------|----------|---------------|
| no connection: DNS, refused, TLS, timeout | yes      | no            |
| 408, 409, 425, 429, 5xx                   | yes, the arm rests as long as Retry-After says, a minute at most | no |
| timeout or reset after the request went out | yes, once | yes        |
| 200 with an error or garbage              | yes, once | yes          |
| 401, 402, 403                             | no: our key, and all arms rest (moderation of one model: yes) | no |
| 400, 413, 422                             | no: the client's mistake, told to it (too long for this model: yes) | no |
| 404, 410: the model is gone               | yes, it rests | no       |

Texts of the upstream never go into messages or logs: they may hold prompts, addresses or keys.
"""

from __future__ import annotations

import email.utils
import math
import re
import ssl
import time
from collections.abc import Mapping
from typing import Any

import orjson

from shared.errors import UpstreamError
from shared.quick_http import NotConnected, ProxyRefused
from shared.schemas.problem import problem

MAX_RETRY_AFTER_S = 60.0
_COOL_S = {429: 5.0, 503: 2.0, 529: 5.0, 404: 60.0, 410: 60.0, 401: 60.0, 402: 60.0}
_DEFAULT_COOL_S = 1.0
_MAX_TOLD_CHARS = 1000

_TOO_LONG = re.compile(
    r"context.{0,20}(?:length|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_SECRETS = re.compile(r"(?i)\bsk-[a-z0-9_-]{6,}|\bbearer\s+\S+|https?://\S+")


def of_exception(error: BaseException) -> UpstreamError:
    """Return what an exception of the HTTP client means."""
    if isinstance(error, NotConnected):
        timed_out = isinstance(error, TimeoutError)
        message = f"no connection to the upstream{_why_not(error)}"
        return UpstreamError(message, cool_s=_DEFAULT_COOL_S, timed_out=timed_out)
    if isinstance(error, TimeoutError):
        return timed_out_error()
    return UpstreamError("the upstream broke the connection off", spent=True)


def _why_not(error: NotConnected) -> str:
    """Return why there is no connection, where that is not the network; never an address."""
    if isinstance(error, ProxyRefused):
        return f": the proxy refused it ({error.status})" if error.status else ": the proxy does not speak HTTP"
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return ": its certificate is not trusted (UPSTREAM_CA_BUNDLE names other authorities)"
    return ""


def timed_out_error() -> UpstreamError:
    """Return the error of an upstream that was too slow after it had been asked."""
    return UpstreamError("the upstream did not answer in time", spent=True, timed_out=True, cool_s=_DEFAULT_COOL_S)


def garbage(what: str) -> UpstreamError:
    """Return the error of a 200 whose body is no answer."""
    return UpstreamError(f"the upstream's answer is unusable: {what}", status=200, spent=True)


def of_error_body(error: Mapping[str, Any]) -> UpstreamError:
    """Return the error of a 200 that carries one."""
    code = error.get("code")
    cool_s = _COOL_S.get(code, 0.0) if isinstance(code, int) else 0.0
    return UpstreamError("the upstream answered 200 with an error", status=200, spent=True, cool_s=cool_s)


def of_status(status: int, headers: Mapping[str, str], raw: bytes, secret: str | None) -> UpstreamError:
    """Return what a status other than 200 means. `secret` is cut out of what is relayed."""
    error = _error_object(raw)
    message = f"the upstream answered {status}"
    if status in (400, 413, 422):
        relay = _relay(error, secret)
        too_long = error.get("code") == "context_length_exceeded" or _TOO_LONG.search(_told(error)) is not None
        return UpstreamError(message, status=status, try_next=too_long, relay=relay)
    if status == 403 and isinstance(error.get("metadata"), dict):  # moderation: this model refuses this prompt
        return UpstreamError(message, status=status)
    cool_s = _cool_s(status, headers)
    try_next = status in (404, 408, 409, 410, 425, 429, 451) or status >= 500
    account = status in (401, 402, 403)
    return UpstreamError(message, status=status, try_next=try_next, cool_s=cool_s, account=account)


def _cool_s(status: int, headers: Mapping[str, str]) -> float:
    """Return how long the arm rests: what Retry-After says, seconds or a date, a minute at most."""
    default = _COOL_S.get(status, _DEFAULT_COOL_S)
    text = headers.get("retry-after", "").strip()
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return default
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else default


def _error_object(raw: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _told(error: Mapping[str, Any]) -> str:
    """Return the upstream's words, with the provider's own where OpenRouter passes them on."""
    metadata = error.get("metadata")
    parts = (error.get("message"), metadata.get("raw") if isinstance(metadata, dict) else None)
    return ": ".join(part for part in parts if isinstance(part, str))[:_MAX_TOLD_CHARS]


def _relay(error: Mapping[str, Any], secret: str | None) -> bytes:
    text = _told(error) or "The model refused the request."
    if secret:
        text = text.replace(secret, "***")
    code, param = error.get("code"), error.get("param")
    return problem(
        _SECRETS.sub("***", text),
        kind="invalid_request_error",
        code=code[:64] if isinstance(code, str) else "upstream_rejected",
        param=param[:64] if isinstance(param, str) else None,
    )
