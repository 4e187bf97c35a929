"""Journal of one request's upstream calls, and what follows from it: the bill and the outcome, both pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import orjson
from msgspec import Struct, field

from services.gateway.chat.answer_checks import failed_checks
from services.gateway.chat.plan import ChatPlan
from services.gateway.limits.quotas import largest_answer
from shared.bandit.arms import ArmId, Price
from shared.errors import UpstreamError
from shared.ports import Clock
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.records import Attempt, Outcome, Status
from shared.schemas.upstream import Usage

CHARS_PER_TOKEN = 4
ASSUMED_TOKENS = 400
"""Estimate of an answer that was broken off before its usage came, or of which nothing came at all."""


class Journal:
    """The upstream calls of one planned request.

    Attributes:
        arm: the arm of the current or last call; before the first call, the one that was chosen.
        attempts: the calls that have ended.
        calling: whether a call is in flight.
        overhead_s: our own time before the first call; 0 until then.
        first_token_s: time from the last call to the first event of its stream.
    """

    def __init__(self, plan: ChatPlan, clock: Clock) -> None:
        self.arm: ArmId = plan.order[0]
        self.attempts: list[Attempt] = []
        self.calling = False
        self.overhead_s = 0.0
        self.first_token_s: float | None = None
        self._clock = clock
        self._started = self._began = plan.request.body_read_at
        self._called = False

    def begin(self) -> bool:
        """Note the start of a call of `arm`; return whether it is the first one."""
        self.calling, self._began = True, self._clock.monotonic()
        first, self._called = not self._called, True
        if first:
            self.overhead_s = self._began - self._started
        return first

    def failed(self, error: UpstreamError | None, cost_usd: float | None) -> None:
        """Note that the call failed before its first byte; `error` is None for a fault of ours."""
        spent, word, scope, feature = True, "internal", None, None
        if error is not None:
            spent, word, scope, feature = error.spent, error.label, error.scope, error.feature
        self.attempts.append(Attempt(self.arm, word, self.elapsed_s(), spent, cost_usd, scope, feature))
        self.calling = False

    def cancelled(self) -> None:
        """Note that the client left during the call; the upstream may bill what it had begun."""
        if self.calling:  # else the client left during a pause between calls
            self.attempts.append(Attempt(self.arm, "cancelled", self.elapsed_s(), spent=True))

    def first_token(self) -> None:
        """Note the first event of a stream."""
        self.first_token_s = self.elapsed_s()

    def elapsed_s(self) -> float:
        """Return the time since the start of the last call; before the first call, since the body had been read."""
        return self._clock.monotonic() - self._began


class Ending(Struct, frozen=True, eq=False):
    """The end of a request's calls.

    Attributes:
        error: the word of an answer's failure after its first byte.
        usage: what the upstream reports of tokens and cost.
        own_tokens: our count of the answer's tokens, used where the upstream reports none.
        calls: ids of the answer's tool calls.
        choices: what was said in the answer.
        unread: number of a stream's events that could not be read, by reason.
    """

    status: Status
    error: str | None = None
    usage: Usage | None = None
    own_tokens: int = 0
    calls: tuple[str, ...] = ()
    choices: tuple[AnswerChoice, ...] = ()
    unread: Counter[str] = field(default_factory=Counter)


class Bill(Struct, frozen=True):
    """Tokens and cost, and the source of the cost, as in `Outcome`. An unknown cost is None."""

    cost_usd: float | None
    source: str
    prompt_tokens: int
    completion_tokens: int


NO_BILL = Bill(0.0, "none", 0, 0)
"""Of a request without any answer; its failed calls have estimates of their own."""


def bill_of(plan: ChatPlan, journal: Journal, ending: Ending, price: Price | None) -> Bill:
    """Return tokens and cost of a request's answer: as reported, else estimated at list price."""
    if ending.usage is not None:
        return _reported_bill(ending.usage, price, lambda: _estimated_tokens(plan, ending.own_tokens))
    if ending.status is Status.FAILED or (ending.status is Status.CANCELLED and not journal.calling):
        return NO_BILL
    return _at_list_price(price, "estimate", *_estimated_tokens(plan, ending.own_tokens))


def unanswered_usd(plan: ChatPlan, price: Price | None) -> float | None:
    """Return the estimated cost of a call that may have been billed without an answer; None without a price."""
    tokens = min(largest_answer(plan.chat.body) or ASSUMED_TOKENS, ASSUMED_TOKENS)
    return _at_list_price(price, "estimate", *_estimated_tokens(plan, tokens)).cost_usd


def outcome_of(plan: ChatPlan, journal: Journal, ending: Ending, bill: Bill, upstream_s: float) -> Outcome:
    """Return the outcome; `upstream_s` is how long the last call took."""
    status, attempts = ending.status, tuple(journal.attempts)
    if status in (Status.ANSWERED, Status.TRUNCATED) or (status is Status.CANCELLED and ending.own_tokens):
        attempts = (*attempts, Attempt(journal.arm, ending.error, upstream_s, spent=True))
    return Outcome(
        status=status,
        arm=journal.arm,
        cost_usd=bill.cost_usd,
        cost_source=bill.source,
        prompt_tokens=bill.prompt_tokens,
        completion_tokens=bill.completion_tokens,
        overhead_s=journal.overhead_s,
        upstream_s=upstream_s,
        first_token_s=journal.first_token_s,
        streamed=plan.chat.stream,
        attempts=attempts,
        failed_checks=failed_checks(plan.chat.body, ending.choices) if status is Status.ANSWERED else None,
    )


def _reported_bill(usage: Usage, price: Price | None, estimate: Callable[[], tuple[int, int]]) -> Bill:
    """Return the reported cost, else tokens at list price; `estimate` gives the tokens that are not reported."""
    prompt, completion, source = usage.prompt_tokens, usage.completion_tokens, "price"
    if prompt is None or completion is None:
        estimated, source = estimate(), "estimate"
        prompt = estimated[0] if prompt is None else prompt
        completion = estimated[1] if completion is None else completion
    if usage.cost_usd is not None:
        return Bill(usage.cost_usd, "upstream", prompt, completion)
    return _at_list_price(price, source, prompt, completion, usage.cached_tokens or 0)


def _at_list_price(price: Price | None, source: str, prompt: int, completion: int, cached: int = 0) -> Bill:
    if price is None:
        return Bill(None, "unknown", prompt, completion)
    return Bill(price.cost_usd(prompt, completion, cached), source, prompt, completion)


def _estimated_tokens(plan: ChatPlan, completion_tokens: int) -> tuple[int, int]:
    return len(orjson.dumps(plan.chat.body.get("messages"))) // CHARS_PER_TOKEN, completion_tokens
