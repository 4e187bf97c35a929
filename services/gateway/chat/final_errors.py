"""Final errors: the error that a client gets for a request that no arm has answered.

| the client | gets |
|---|---|
| named the model | the provider's error: 4xx as it is, 429 with `Retry-After`, 5xx as 502, each with the reason |
| left the choice | the last arm's reason where all arms refused the request itself; else a 502 or 429 |

A refusal of our own key is a 502 for all clients, so that none takes it for a refusal of its own key. Missing credit is
a 402: unlike 429 and 502, SDKs do not retry it, and a retry does not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.gateway.chat.plan import ChatPlan
from shared.errors import ClientError, InsufficientCredit, RateLimited, Scope, UpstreamError, UpstreamFailed
from shared.resilience.upstream_account import Account, FreeLimit
from shared.resilience.upstream_circuits import CircuitBreakers

_OWN_SAKE = (Scope.REQUEST, Scope.FIT)


def verdict(
    errors: Sequence[UpstreamError], plan: ChatPlan, circuit_breakers: CircuitBreakers
) -> UpstreamError | ClientError:
    """Return the client's error for these failures, in order; no failures mean that the account allowed no call."""
    if not errors:
        return _not_asked(circuit_breakers.account(plan.order[0]))
    error = _decisive(errors)
    if plan.names_model:
        return _of_named(error)
    if error.scope in _OWN_SAKE and error.relay is not None:
        return error
    limit = circuit_breakers.account(plan.order[0]).free_limit
    if error.free_cap or (error.scope is Scope.CREDIT and limit.cooldown_s):
        return _free_used_up(limit)  # this passes, and missing credit does not
    return _of_any(error)


def _decisive(errors: Sequence[UpstreamError]) -> UpstreamError:
    """Return the failure that decides: an arm's fault may pass, so it comes before a refusal of the request."""
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


def _not_asked(account: Account) -> ClientError:
    key, credit = account.key.breaker, account.credit.breaker
    if key.open:
        return key_refused(retry_after_s=key.cooldown_s)
    if account.free_limit.cooldown_s or not credit.open:
        return _free_used_up(account.free_limit)
    return _no_credit(retry_after_s=credit.cooldown_s)


def _free_used_up(limit: FreeLimit) -> RateLimited:
    wait_s = max(limit.resets_s, 1.0)
    resets_at = datetime.now(UTC) + timedelta(seconds=wait_s)
    return RateLimited(
        "The upstream's limit of free requests is used up. It is reset at "
        f"{resets_at:%Y-%m-%d %H:%M:%S} UTC; until then, the operator may add credit.",
        code="upstream_rate_limited",
        retry_after_s=wait_s,
    )


def key_refused(said: str = "", retry_after_s: float | None = None) -> UpstreamFailed:
    """Return the error where the upstream refuses the router's key."""
    message = (
        "The upstream refuses the router's own key, not yours: its operator has to check OPENROUTER_API_KEY, or the "
        "key in MODELS_FILE."
    )
    return UpstreamFailed(message + said, code="upstream_error", retry_after_s=retry_after_s)


def _no_credit(said: str = "", retry_after_s: float | None = None) -> InsufficientCredit:
    message = "The router's account at the upstream has no credit for this request: its operator has to add some."
    return InsufficientCredit(message + said, code="insufficient_credit", retry_after_s=retry_after_s)


def _limited(message: str, error: UpstreamError) -> RateLimited:
    wait_s = max(error.cool_s, error.reset_s, 1.0)
    return RateLimited(message, code="upstream_rate_limited", retry_after_s=wait_s)
