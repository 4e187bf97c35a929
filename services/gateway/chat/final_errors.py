"""What a client hears of a request that no arm has answered.

| the client | hears |
|---|---|
| named the model | what its provider said: 4xx as it is, 429 with `Retry-After`, 5xx as 502, each with the reason |
| left the choice | where all arms refused the request for its own sake, the last one's reason; else a 502 or 429 |

A refusal of our own key is a 502 for all: no client may take it for a refusal of its own. Missing credit is a 402,
which SDKs do not repeat by themselves, as they do 429 and 502: trying again does not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.gateway.chat.plan import Plan
from services.gateway.limits.circuit_breakers import CircuitBreakers
from shared.errors import ClientError, InsufficientCredit, RateLimited, Scope, UpstreamError, UpstreamFailed

_OWN_SAKE = (Scope.REQUEST, Scope.FIT)


def is_named(plan: Plan) -> bool:
    """Return whether the client itself left one model only."""
    return plan.chat.model is not None or (bool(plan.chat.models) and len(set(plan.order)) == 1)


def verdict(errors: Sequence[UpstreamError], plan: Plan, cooldowns: CircuitBreakers) -> UpstreamError | ClientError:
    """Return what the client hears of these failures, in order; of none, where the account allowed no call."""
    if not errors:
        return _not_asked(cooldowns)
    error = _decisive(errors)
    if is_named(plan):
        return _of_named(error)
    if error.scope in _OWN_SAKE and error.relay is not None:
        return error
    if error.free_cap or (error.scope is Scope.CREDIT and cooldowns.free_limit.rests_s):
        return _free_used_up(cooldowns)  # this passes, and missing credit does not
    return _of_any(error)


def _decisive(errors: Sequence[UpstreamError]) -> UpstreamError:
    """Return the failure that counts: a fault of an arm may pass, so it goes before what the request cannot have."""
    if errors[-1].scope is Scope.REQUEST:
        return errors[-1]
    for scope in (Scope.ARM, Scope.KEY, Scope.CREDIT):
        found = [error for error in errors if error.scope is scope]
        if found:
            return found[-1]
    return errors[-1]


def _of_named(error: UpstreamError) -> UpstreamError | ClientError:
    if error.relay is not None:
        return error
    said = f" The upstream said: {error.reason}" if error.reason else ""
    if error.status == 401:
        return key_refused(said)
    if error.timed_out:
        return UpstreamFailed("The model did not answer in time.", code="upstream_timeout")
    if error.status == 429:
        return _limited("The model is rate limited upstream." + said, error)
    if error.scope is Scope.CREDIT:
        return _no_credit(said)
    answered = f" The upstream answered {error.status}." if error.status not in (None, 200) else ""
    return UpstreamFailed("The model could not answer." + answered + said, code="upstream_error")


def _of_any(error: UpstreamError) -> ClientError:
    if error.scope is Scope.KEY:
        return key_refused()
    if error.scope is Scope.CREDIT:
        return _no_credit(said=f" The upstream said: {error.reason}" if error.reason else "")
    if error.timed_out:
        return UpstreamFailed("No model answered in time.", code="upstream_timeout")
    if error.status == 429:
        return _limited("The models are rate limited upstream.", error)
    said = f" The upstream said: {error.reason}" if error.scope in _OWN_SAKE and error.reason else ""
    return UpstreamFailed("No model could answer." + said, code="upstream_error")


def _not_asked(cooldowns: CircuitBreakers) -> ClientError:
    credit = cooldowns.credit.breaker
    if cooldowns.free_limit.rests_s or not credit.open:
        return _free_used_up(cooldowns)
    return _no_credit(retry_after_s=credit.rests_s)


def _free_used_up(cooldowns: CircuitBreakers) -> RateLimited:
    wait_s = max(cooldowns.free_limit.resets_s, 1.0)
    resets_at = datetime.now(UTC) + timedelta(seconds=wait_s)
    return RateLimited(
        "The upstream's limit of free requests is used up. It is reset at "
        f"{resets_at:%Y-%m-%d %H:%M:%S} UTC; until then, the operator may add credit.",
        code="upstream_rate_limited",
        retry_after_s=wait_s,
    )


def key_refused(said: str = "", retry_after_s: float | None = None) -> UpstreamFailed:
    """Return the error where the upstream refuses the router's key."""
    message = "The upstream refuses the router's own key, not yours: its operator has to check OPENROUTER_API_KEY."
    return UpstreamFailed(message + said, code="upstream_error", retry_after_s=retry_after_s)


def _no_credit(said: str = "", retry_after_s: float | None = None) -> InsufficientCredit:
    message = "The router's account at the upstream has no credit for this request: its operator has to add some."
    return InsufficientCredit(message + said, code="insufficient_credit", retry_after_s=retry_after_s)


def _limited(message: str, error: UpstreamError) -> RateLimited:
    wait_s = max(error.cool_s, error.reset_s, 1.0)
    return RateLimited(message, code="upstream_rate_limited", retry_after_s=wait_s)
