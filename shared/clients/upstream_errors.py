"""Conversion of failed upstream calls to `UpstreamError`.

Statuses are judged by the table in `refusals.py`; what fails without one is here:

| failure                                     | next arm  | may be billed |
|---------------------------------------------|-----------|---------------|
| no connection: DNS, refused, TLS, timeout   | yes       | no            |
| timeout or reset after the request went out | yes, once | yes           |
| 200 with garbage, or an error without a status | yes, once | yes        |
| 200 with an error of a status               | as that status | 4xx: no; 5xx: yes |

The upstream's words go to clients alone, masked and bounded: never into messages or logs, for they may hold prompts.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

from shared.clients.masking import NO_MASK, Mask
from shared.clients.refusals import FREE_CAP, Refusal, Row, default_cool_s, row_of
from shared.clients.retry_after import wait_s
from shared.clients.upstream_words import Words, words_of, words_of_body
from shared.errors import UpstreamError
from shared.quick_http import NotConnected, ProxyRefused, ProxyUnreachable
from shared.schemas.problem import problem
from shared.schemas.upstream import Call

MAX_RETRY_AFTER_S = 60.0
MAX_RESET_S = 172_800.0
MAX_CAP_REST_S = 3600.0
"""Longest pause at a daily limit: the account may have been topped up."""

_DEFAULT_COOL_S = 1.0
_NO_RELAY = frozenset({401, 408, 409, 425, 429})
"""Of the 4xx, those that are not handed on as they are: they are about our key, or pass."""

_WORD = re.compile(r"[\w.:/\[\]-]{1,64}")
_DAILY = re.compile(r"per-day|daily", re.IGNORECASE)


def of_exception(error: BaseException) -> UpstreamError:
    """Return the error for an exception of the HTTP client."""
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
    if isinstance(error, ProxyUnreachable):
        return ": the proxy cannot be reached"
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return ": its certificate is not trusted (UPSTREAM_CA_BUNDLE names other authorities)"
    return ""


def timed_out_error() -> UpstreamError:
    """Return the error of a time-out after the request was sent."""
    return UpstreamError("the upstream did not answer in time", spent=True, timed_out=True, cool_s=_DEFAULT_COOL_S)


def garbage(what: str) -> UpstreamError:
    """Return the error of a 200 whose body is no answer."""
    return UpstreamError(f"the upstream's answer is unusable: {what}", status=200, spent=True)


def of_error_body(error: Mapping[str, Any], call: Call | None = None, mask: Mask = NO_MASK) -> UpstreamError:
    """Return the error of a 200 that carries one: its `code` counts as the status, and a 4xx is not billed."""
    words = words_of(error)
    if words.status is None:
        message = "the upstream answered 200 with an error"
        return UpstreamError(message, status=200, spent=True, reason=mask(words.text) or None)
    message = f"the upstream answered 200 with an error of status {words.status}"
    return _judged(message, Refusal(words.status, words, call), {}, mask, spent=words.status >= 500)


def of_status(
    status: int, headers: Mapping[str, str], raw: bytes, call: Call | None = None, mask: Mask = NO_MASK
) -> UpstreamError:
    """Return the error for a status other than 200. `call` was refused; `mask` masks the relayed text."""
    words = words_of_body(raw, headers)
    return _judged(f"the upstream answered {status}", Refusal(status, words, call), headers, mask)


def _judged(
    message: str, refusal: Refusal, headers: Mapping[str, str], mask: Mask, *, spent: bool = False
) -> UpstreamError:
    status, words = refusal.status, refusal.words
    row = row_of(refusal)
    reason = mask(words.text)
    told_s = wait_s(headers, words.metadata)
    free_cap = row.name == FREE_CAP and told_s is not None
    return UpstreamError(
        message,
        status=status,
        try_next=row.try_next,
        spent=spent,
        cool_s=_cool_s(row, refusal, told_s),
        relay=_relay(status, words, reason, mask) if 400 <= status < 500 and status not in _NO_RELAY else None,
        scope=row.scope,
        feature=row.feature_in(refusal),
        reason=reason or None,
        free_cap=free_cap,
        reset_s=min(told_s, MAX_RESET_S) if free_cap and told_s is not None else 0.0,
    )


def _cool_s(row: Row, refusal: Refusal, told_s: float | None) -> float:
    """Return the cool-down of the arm in seconds: as the upstream says, within bounds."""
    default = default_cool_s(row, refusal.status)
    if told_s is None or not default:
        return default
    daily = row.name == FREE_CAP and _DAILY.search(f"{refusal.words.all} {refusal.words.metadata.get('limit_source')}")
    return min(told_s, MAX_CAP_REST_S if daily else MAX_RETRY_AFTER_S)


def _relay(status: int, words: Words, reason: str, mask: Mask) -> bytes:
    kind = {402: "insufficient_quota", 403: "permission_error"}.get(status, "invalid_request_error")
    return problem(
        reason or f"The model refused the request: its provider answered {status} without a reason.",
        kind=kind,
        code=_word(words.code, mask) or "upstream_rejected",
        param=_word(words.param, mask),
    )


def _word(text: str | None, mask: Mask) -> str | None:
    masked = mask(text) if text else ""
    return masked if _WORD.fullmatch(masked) else None
