"""Table of refusals: the scope of a failed call by status, words and metadata.

The first row that fits counts. `docs/operations.md` ("When a model fails") says the same for operators.

| scope | meaning | next arm | remembered |
|---|---|---|---|
| REQUEST | every arm would refuse this request | no | nothing |
| FIT | this arm cannot serve this request | yes | (arm, feature), where the words name one that the request uses |
| ARM | the arm, or its provider's key | yes | the arm cools down |
| KEY | our key | yes | evidence against the key |
| CREDIT | our credit | yes, those that cost less first | evidence against the credit |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container

from msgspec import Struct

from shared.clients.features import feature_of
from shared.clients.upstream_words import Words
from shared.errors import Scope
from shared.schemas.upstream import Call

GONE_COOL_S = 60.0
_COOL_S = {429: 5.0, 503: 2.0, 529: 5.0}
_DEFAULT_COOL_S = 1.0

CLIENT_ERRORS = frozenset({400, 406, 411, 412, 413, 414, 415, 416, 417, 422, 431})
"""Statuses that blame the request."""

_BUSY = frozenset({408, 409, 423, 424, 425, 429, 498, 499})
_ABSENT = frozenset({404, 410})
_FORBIDDEN = frozenset({403, 451})


class Refusal(Struct, frozen=True, eq=False):
    """Facts of a refusal that the table decides by."""

    status: int
    words: Words
    call: Call | None = None

    @property
    def has_wishes(self) -> bool:
        """Whether the client itself narrowed the providers."""
        return self.call is not None and bool(self.call.body.get("provider"))

    @property
    def names_arm(self) -> bool:
        """Whether the words name the arm: else they may quote what the client sent."""
        if self.call is None or "model" in (self.words.code or ""):
            return True
        name = self.call.arm.partition(":")[0].rpartition("/")[2]
        return name.lower() in self.words.text.lower()

    @property
    def feature(self) -> str | None:
        """The feature of the request that the words say is missing."""
        return feature_of(self.words, frozenset() if self.call is None else self.call.requirements.features)


class Row(Struct, frozen=True, eq=False):
    """One row: it matches by status, words and metadata."""

    name: str
    statuses: Container[int]
    scope: Scope
    says: re.Pattern[str] | None = None
    where: Callable[[Refusal], bool] | None = None
    feature: str | Callable[[Refusal], str | None] | None = None
    try_next: bool = True
    cool_s: float = 0.0

    def fits(self, refusal: Refusal) -> bool:
        """Return whether this row matches the refusal."""
        if refusal.status not in self.statuses:
            return False
        if self.says is not None and not self.says.search(refusal.words.all):
            return False
        return self.where is None or self.where(refusal)

    def feature_in(self, refusal: Refusal) -> str | None:
        """Return the feature that the arm lacks, if the row knows."""
        return self.feature(refusal) if callable(self.feature) else self.feature


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TOO_DEAR = _words(
    r"requires more credits", r"can only afford", r"fewer max_tokens", r"prompt tokens limit exceeded",
    r"weight_exceeds_budget", r"in.flight.{0,12}budget",
)  # fmt: skip
_MODERATED = _words(
    r"moderat", r"flagged", r"content[_ -]?(?:filter|polic|management|exists risk|violation)",
    r"inappropriate content",
    r"usage guideline", r"violat\w+ .{0,40}(?:guideline|polic|terms)",
    r"data[_ ]?inspection", r"responsible ai", r"usage polic", r"prohibited content", r"sensitive (?:content|words)",
    r"safety (?:system|filter|polic|reasons|guideline)",
)  # fmt: skip
_NO_CREDIT = _words(
    r"insufficient[_ ](?:quota|credits?|balance|funds)", r"credit balance",
    r"key limit (?:has been )?(?:exceeded|reached)",
    r"(?:spend(?:ing)?|budget|credit|billing|usage)[_ ](?:hard[_ ])?limits?", r"out of credits?", r"no credits?\b",
    r"negative balance", r"arrear", r"balance is insufficient", r"\bany credits\b", r"spending limit",
    r"openrouter_\w*(?:budget|key_limit|credits)",
)  # fmt: skip
_QUOTA_GONE = _words(r"insufficient[_ ](?:quota|credits?|balance|funds)", r"credit balance", r"billing[_ ]hard")
_START = r"\A\W*(?:provider returned error\W+)?"
_ASKS_FOR_CREDIT = _words(
    _START + r"(?:your credit balance|you have (?:reached|exceeded) your (?:specified )?(?:api )?usage|insufficient[_ ]"
    r"|account \S+ is suspended|access denied, please make sure your account)"
)
_KEY_REFUSED = _words(_START + r"(?:(?:invalid |incorrect |expired )?api[ _-]?key\b|(?:please )?renew the api key)")
"""Matched at the start only: the text may quote the client's content further on."""

_KEY_FORBIDDEN = _words(
    r"\b(?:api[_ -]?)?key\b", r"suspended", r"credential", r"unauthori", r"not authori", r"authenticat", r"account"
)
_NO_ACCESS = _words(
    r"(?:access|permission|entitle|allowed|subscri|licen[cs]e).{0,60}\b(?:model|endpoint|deployment)",
    r"\b(?:model|endpoint|deployment)\b.{0,60}(?:access|permission|allowed|permitted|entitle)",
    r"(?:country|region|territory|location).{0,40}(?:not (?:supported|available)|unsupported)", r"unsupported_country",
    r"not (?:supported|available) in your (?:country|region|territory|location)",
)  # fmt: skip
_WISHES = _words(r"provider", r"routing", r"no endpoints", r"data polic", r"privacy", r"guardrail")
_BROKEN_HISTORY = _words(
    r"must be followed by tool", r"did not have response messages",
    r"without (?:a |any )?(?:corresponding|matching|preceding)",
    r"must be a response to a prec", r"no tool call found",
)  # fmt: skip
_FOREIGN_HISTORY = _words(
    r"tool[_ ]?(?:call|use)[_ ]?ids?\b", r"tool_(?:calls?|use)\S*\.id\b", r"thought[_ ]?signature",
    r"\bthinking\b.{0,40}(?:block|signature)", r"signature.{0,40}\bthinking", r"redacted_thinking",
    r"reasoning.{0,30}(?:signature|encrypt|\bitem)", r"passed back",
    r"reasoning_(?:content|details).{0,60}(?:miss|must be|required)",
    r"missing\W+(?:the )?\W*reasoning_(?:content|details)",
    r"encrypted[_ ]content", r"invalid[_ ]signature", r"function call turn", r"function response parts",
)  # fmt: skip
_TOO_LONG = _words(
    r"context.{0,24}(?:length|window|size|limit|overflow)", r"maximum context", r"too many (?:input |prompt )?tokens",
    r"(?:prompt|input|request|messages?|conversation|sequence) (?:is |are |was )?too (?:long|large)",
    r"exceeds? the (?:model'?s? )?maximum number of (?:input )?tokens", r"input token count", r"input tokens exceed",
    r"exceeded model token limit", r"token[_ ]limit[_ ]exceeded", r"maximum (?:prompt|model|input|sequence) length",
    r"max(?:imum)?[_ ](?:model|seq|input|prompt)[_ ]?len",
    r"reduce (?:the length of|your message|the number of messages)",
    r"tokens in request more than max", r"too large for (?:the )?model", r"exceeds the limit of \d+",
    r"exceed_context", r"\bn_ctx\b", r"prompt (?:has|contains|length).{0,40}token", r"string_above_max_length",
    r"request_too_large", r"maximum allowed number of bytes",
    r"(?:input|prompt|message)s?\W+(?:length|tokens?)\b.{0,60}(?:exceed|must be <|should be \[|> ?\d|limit)",
    r"range of input length", r"tokens?_exceeded", r"exceed\w* max (?:message|input|prompt) tokens",
)  # fmt: skip
_LACKS = _words(
    r"n[o']t (?:currently |yet )?support", r"unsupported", r"no endpoints found that (?:support|can handle)",
    r"not (?:enabled|implemented|compatible|available) (?:for|with|on|in|by)\b", r"incompatible with",
    r"only supported?\b", r"unavailable now", r"not implemented", r"unknown variant", r"missing data required for",
    r"at most 0\b", r"may not be (?:enabled|used) (?:when|with)", r"content\W*(?::\s*value)? must be (?:a )?string",
    r"sequence, expected a string",
    r"not a (?:multi-?modal|vision|chat|reasoning)", r"text[- ]only",
    r"(?:cannot|can't|does not|doesn't|do not|unable to) (?:accept|process|handle|read|take|use|understand|allow)",
    r"requires? (?:the )?--", r"requires? .{0,30}flag",
)  # fmt: skip
_UNKNOWN_FIELD = _words(
    r"extra (?:inputs|fields)", r"extra_forbidden", r"additional properties",
    r"unexpected (?:keyword|field|property|argument)",
    r"un(?:recognized|recognised|known)[_ ](?:request )?(?:argument|parameter|field|name|key|property)",
    r"not permitted", r"not allowed",
)  # fmt: skip
_GONE = _words(
    r"not a valid model", r"(?:invalid|unknown|no such|unsupported) model\b",
    r"model[_ ]not[_ ](?:found|available|exist)",
    r"\bmodels?\b.{0,100}(?:not found|n[o']t exist|no longer|deprecated|removed|retired|commissioned|discontinued)",
    r"model_(?:decommissioned|deprecated|unavailable)", r"no endpoints found for",
)  # fmt: skip
_OF_THE_MODEL = _words(
    r"\bmodels?\b", r"\broles?\b", r"prefill", r"max(?:_completion|_output|imum)?_?\s?tokens?\b", r"at most",
    r"too (?:many|large)",
    r"exceed", r"\bmaximum\b",
)  # fmt: skip
_OVER_RATE = _words(r"request too large", r"tokens must be reduced")
_FREE_CAP = _words(r"free-models-per", r"openrouter_free_tier")


def _limit_of(refusal: Refusal) -> str:
    return f"{refusal.words.all} {refusal.words.metadata.get('limit_source')}"


def _has_limit(pattern: re.Pattern[str]) -> Callable[[Refusal], bool]:
    return lambda one: pattern.search(_limit_of(one)) is not None


def _of_the_account(refusal: Refusal) -> bool:
    said = refusal.words.all
    return _ASKS_FOR_CREDIT.search(said) is not None or _KEY_REFUSED.search(said) is not None


FREE_CAP = "a limit that all free models share"

TABLE = (
    # -- the upstream judges the prompt, or who pays
    Row("moderation", {400, 422, *_FORBIDDEN}, Scope.FIT, _MODERATED),
    Row("moderation, by its reasons", _FORBIDDEN, Scope.FIT, where=lambda one: "reasons" in one.words.metadata),
    Row("more than is left", {400, 402, 403}, Scope.FIT, where=_has_limit(_TOO_DEAR)),
    Row("a provider's own key", {401, 402, 403}, Scope.ARM, where=lambda one: one.words.of_provider,
        cool_s=GONE_COOL_S),
    Row("a provider's own key, as a client error", {400, 412}, Scope.ARM,
        where=lambda one: one.words.of_provider and _of_the_account(one), cool_s=GONE_COOL_S),
    Row("no credit", {402}, Scope.CREDIT),
    Row("no credit, in words", {403}, Scope.CREDIT, where=_has_limit(_NO_CREDIT)),
    Row("no credit, as a client error", {400, 412}, Scope.CREDIT, _ASKS_FOR_CREDIT,
        where=lambda one: not one.words.of_provider),
    Row("no quota", {429}, Scope.CREDIT, _QUOTA_GONE, where=lambda one: not one.words.of_provider, cool_s=_COOL_S[429]),
    Row("no key", {401}, Scope.KEY),
    Row("no key, as a client error", {400}, Scope.KEY, _KEY_REFUSED, where=lambda one: not one.words.of_provider),
    Row("no access to the model", _FORBIDDEN, Scope.ARM, _NO_ACCESS, cool_s=GONE_COOL_S),
    Row("forbidden to the key", {403}, Scope.KEY, _KEY_FORBIDDEN),
    Row("forbidden", _FORBIDDEN, Scope.FIT),
    # -- the request does not fit the model
    Row("no provider as wished", {400, 404, 503}, Scope.FIT, _WISHES, where=lambda one: one.has_wishes),
    Row("broken tool history", CLIENT_ERRORS, Scope.REQUEST, _BROKEN_HISTORY, try_next=False),
    Row("history of another model", CLIENT_ERRORS, Scope.FIT, _FOREIGN_HISTORY, feature="tool_history"),
    Row("prompt too long", {*CLIENT_ERRORS, 404, 500}, Scope.FIT, _TOO_LONG, feature="context"),
    Row("feature not supported", {*CLIENT_ERRORS, 404}, Scope.FIT, _LACKS, feature=lambda one: one.feature,
        where=lambda one: not _GONE.search(one.words.all)),
    Row("feature not supported, as a fault", {500, 501}, Scope.FIT, _LACKS, feature=lambda one: one.feature,
        where=lambda one: one.feature is not None),
    Row("field not known", CLIENT_ERRORS, Scope.FIT, _UNKNOWN_FIELD, feature=lambda one: one.feature),
    Row("model gone, in words", CLIENT_ERRORS, Scope.ARM, _GONE, where=lambda one: one.names_arm, cool_s=GONE_COOL_S),
    Row("a limit of the model", CLIENT_ERRORS, Scope.FIT, _OF_THE_MODEL),
    Row("too large", {413}, Scope.FIT),
    Row("malformed", CLIENT_ERRORS, Scope.REQUEST, try_next=False),
    # -- the arm
    Row("model gone", _ABSENT, Scope.ARM, cool_s=GONE_COOL_S),
    Row(FREE_CAP, {429}, Scope.ARM, where=_has_limit(_FREE_CAP)),
    Row("more tokens than its rate", {429}, Scope.FIT, _OVER_RATE, feature="context"),
    Row("busy", _BUSY, Scope.ARM),
    Row("fault", range(500, 600), Scope.ARM),
    Row("client error without a meaning", range(400, 500), Scope.ARM),
    Row("no answer", range(1000), Scope.ARM, try_next=False),
)  # fmt: skip


def row_of(refusal: Refusal) -> Row:
    """Return the first row that matches."""
    return next(row for row in TABLE if row.fits(refusal))


def default_cool_s(row: Row, status: int) -> float:
    """Return the default cool-down of the arm in seconds, if the upstream gives none."""
    if row.scope is not Scope.ARM:
        return row.cool_s
    return row.cool_s or _COOL_S.get(status, _DEFAULT_COOL_S)
