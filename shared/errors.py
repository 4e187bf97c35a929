"""Tree of all errors that are raised on purpose.

    RouterError
    ├── SettingsError          a setting is invalid: the message names key, value and allowed range
    ├── CorruptState           learned state failed validation; the last good one is kept
    ├── DependencyError        embedder, Qdrant, Redis or PostgreSQL is unreachable, slow or answers nonsense
    ├── UpstreamError          a model call failed; says whether to retry, and whether it may be billed
    └── ClientError            returned to the caller in OpenAI's error shape
        ├── InvalidRequest     400   ├── NotFound         404   ├── PayloadTooLarge   413
        ├── Unauthenticated    401   ├── MethodNotAllowed 405   ├── UnsupportedMedia  415
        ├── InsufficientCredit 402   ├── RequestTimeout   408   ├── RateLimited       429
        ├── Forbidden          403   ├── Conflict         409   ├── Unavailable       503
        └──                          ├── Gone             410   └── UpstreamFailed    502, 504

Messages are written for the caller: they never carry a key, a prompt, an address or a traceback.
The HTTP status of each class is set in one place, `shared/schemas/problem.py`.
"""

from __future__ import annotations

from enum import StrEnum


class RouterError(Exception):
    """Base of every error raised on purpose."""


class SettingsError(RouterError):
    """A setting is unknown, of the wrong type or out of range."""


class CorruptState(RouterError):
    """Learned state read from storage breaks an invariant (not an integer, negative count, score sum above count)."""


class DependencyError(RouterError):
    """A dependency could not be used in time.

    Attributes:
        dependency: a bounded label: embedder, qdrant, redis, postgres.
        reason: what is wrong in bounded words, without addresses or content, for `/health`; "" where it is not known.
    """

    def __init__(self, dependency: str, message: str, *, reason: str = "") -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency
        self.reason = reason


class Scope(StrEnum):
    """Scope of a failed upstream call: which arms may be tried next, and which circuit counts it."""

    REQUEST = "request"  # the request: every arm would refuse it
    FIT = "fit"  # this pair: the arm lacks what the request needs, neither is at fault
    ARM = "arm"  # the arm, or the connection to it
    KEY = "key"  # our key: every arm of the upstream
    CREDIT = "credit"  # our credit: every arm of the upstream that costs money


class UpstreamError(RouterError):
    """A call to the upstream failed.

    Attributes:
        status: HTTP status of the upstream, or None where none was received.
        try_next: whether another arm may be tried (nothing has reached the client yet).
        spent: whether the call may have been billed.
        cool_s: seconds for which the arm should not be called; 0 for none.
        relay: the upstream's reason as a body in OpenAI's shape, to hand to the client with `status`, else None.
        reason: the upstream's reason as text for clients, masked and bounded, or None where it gave none.
        free_cap: whether a limit is used up that all `:free` models share.
        reset_s: seconds until that limit is reset, as far as the upstream says so; 0 where it does not.
        scope: whom the failure concerns.
        feature: the feature of the request that the arm lacks (`shared.schemas.requirements`), with `Scope.FIT`.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        try_next: bool = True,
        spent: bool = False,
        cool_s: float = 0.0,
        timed_out: bool = False,
        relay: bytes | None = None,
        reason: str | None = None,
        free_cap: bool = False,
        reset_s: float = 0.0,
        scope: Scope = Scope.ARM,
        feature: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.free_cap = free_cap
        self.reset_s = reset_s
        self.scope = scope
        self.feature = feature
        self.status = status
        self.try_next = try_next
        self.spent = spent
        self.cool_s = cool_s
        self.timed_out = timed_out
        self.relay = relay

    @property
    def ambiguous(self) -> bool:
        """Whether it is unknown if an answer was made and billed: the request was sent, and no answer came."""
        return self.spent and self.status is None

    @property
    def label(self) -> str:
        """A bounded name of the failure: a label of metrics, and a field of records."""
        if self.timed_out:
            return "timeout"
        if self.status is not None:
            return f"status_{self.status}" if 400 <= self.status <= 599 else "bad_answer"
        return "broken" if self.spent else "refused"

    @property
    def passing(self) -> bool:
        """Whether the same call is likely to succeed after a short pause."""
        return self.relay is None and (self.status is None or self.status in _PASSING or self.status >= 500)


_PASSING = frozenset({200, 408, 409, 425, 429})


class ClientError(RouterError):
    """An error returned to the caller as `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(ClientError):
    """400: malformed or out of range."""


class Unauthenticated(ClientError):
    """401: no key, or a wrong one."""


class InsufficientCredit(ClientError):
    """402: our account at the upstream has no credit for the request."""


class Forbidden(ClientError):
    """403: the key may not do this."""


class NotFound(ClientError):
    """404: no such path, model or request."""


class MethodNotAllowed(ClientError):
    """405."""


class RequestTimeout(ClientError):
    """408: the client was too slow."""


class Conflict(ClientError):
    """409: the request id is taken, or the request cannot be rated."""


class Gone(ClientError):
    """410: the feedback window is over."""


class PayloadTooLarge(ClientError):
    """413."""


class UnsupportedMedia(ClientError):
    """415: content type or encoding."""


class RateLimited(ClientError):
    """429."""


class Unavailable(ClientError):
    """503: full, draining or not ready; carries `retry_after_s`."""


class UpstreamFailed(ClientError):
    """502, or 504 when `code` is `upstream_timeout`: no arm could answer."""
