"""The HTTP contract as an OpenAPI 3.1 document: one row per operation, so that all of it is in one table."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.dialects.messages_request import MessagesFields
from services.gateway.dialects.responses_request import ResponsesFields
from services.gateway.http.openapi_schemas import (
    ARMS,
    DECISION,
    HEALTH,
    MODEL,
    STRING,
    STRINGS,
    TOKENS,
    Schema,
    body_of,
    object_of,
    one_or_list,
)
from services.gateway.http.openapi_views import DEAD_LETTERS, LISTED, POSTERIORS, SETTINGS, SPEND, STATS
from shared.schemas.chat_fields import ChatFields
from shared.schemas.embedding_request import EmbeddingFields
from shared.schemas.feedback import MAX_BATCH, FeedbackFields, RatingFields
from shared.schemas.ids import REQUEST_ID_PATTERN

REQUEST_ID = {"type": "string", "pattern": REQUEST_ID_PATTERN.replace(r"\z", "$")}

ROUTER_HEADERS = {
    "x-request-id": "The request's id: yours, or a generated one if you sent none",
    "x-router-model": "The model that answered",
    "x-router-decision": "The evidence of the decision: local, global, default, pinned, control or fallback",
    "x-router-propensity": "Probability with which the policy chose as it did",
    "x-router-cost-usd": "Cost of the answer in USD (absent if it is unknown, and on streams)",
    "x-router-overhead-ms": "Time in the router before the upstream was called",
    "x-router-degraded": "Dependencies that the decision was made without",
    "x-router-session": "`held` if the conversation, or the tool loop, stayed with its model",
    "x-router-exploration": "Why there was no exploration: `off` by your request, `spent` with the day's budget",
    "x-router-ignored": "Fields that were dropped: of `provider`, or those that cannot be translated",
    "x-router-feedback-url": "A path that rates this answer, once, without a key (with FEEDBACK_LINK_SECRET)",
}

SENT_HEADERS: dict[str, Schema] = {
    "x-session-id": {"type": "string", "minLength": 1, "maxLength": 128},
    "x-router-explore": {"type": "string", "enum": ["on", "off"]},
    "x-router-evaluate": {"type": "string", "enum": ["on", "off"]},
    "x-router-policy": {"type": "string", "minLength": 1, "maxLength": 64},
    "x-router-weights": {"type": "string", "example": "quality=0.8,latency=0,cost=-0.2"},
    "x-router-max-cost-usd": {"type": "number", "exclusiveMinimum": 0},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `errors` are statuses with our codes; `open` operations need no key."""

    path: str
    method: str
    summary: str
    answer: tuple[int, str, str, Schema]  # status, meaning, media type, schema
    errors: dict[int, str]
    body: Schema | None = None
    versioned: bool = True
    open: bool = False


_ANYTHING: Schema = {"type": "object", "additionalProperties": True}
_BODY_ERRORS = {
    400: "malformed, or a field is out of range: `param` names it",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type, unsupported_encoding",
}
_ARM_LIST = object_of("arms added removed", arms=STRINGS, added=STRINGS, removed=STRINGS)
_CHAT_ERRORS = _BODY_ERRORS | {
    400: f"{_BODY_ERRORS[400]}; no_capable_model: no model can serve what the request needs; "
    "no_model_within_limits: the nearest is named"
}
_ARM_ERRORS = {
    400: "invalid_value: no name of a model",
    403: "admin_key_required",
    404: "model_not_found",
    503: "dependency_unavailable",
}
_RECORD_ERRORS = {
    404: "request_not_found", 409: "ambiguous_request_id (for admins)", 410: "record_expired",
    503: "records_unavailable",
}  # fmt: skip
JSON = "application/json"

CHAT_BODY = body_of(ChatFields)
CHAT_BODY["properties"]["provider"] = {
    "type": ["object", "null"],
    "description": "Unknown fields are dropped, see x-router-ignored",
}
MESSAGES_BODY = body_of(MessagesFields)
FEEDBACK_BODY, RATING_BODY = one_or_list(body_of(FeedbackFields), most=MAX_BATCH), body_of(RatingFields)

ANSWERING = ("/chat/completions", "/responses", "/messages")
"""Paths whose operations are answered by a model."""
_ANSWER_ERRORS = _CHAT_ERRORS | {
    402: "insufficient_credit: the router's account at the upstream has too little for this request",
    404: "model_not_found",
    409: "duplicate_request_id",
    429: "rate_limit_exceeded, insufficient_quota, too_many_concurrent_requests, upstream_rate_limited",
    502: "upstream_error: no model could answer",
    503: "overloaded, no_models",
    504: "upstream_timeout",
}

OPERATIONS = (
    Operation(
        "/chat/completions", "post", "Chat completion by the model that is worth its price for this prompt",
        (200, "OpenAI's chat completion, or with `stream` its events", JSON, _ANYTHING), _ANSWER_ERRORS, CHAT_BODY,
    ),
    Operation(
        "/responses", "post", "OpenAI's Responses: the same as a chat completion, in another shape",
        (200, "OpenAI's response, or with `stream` its events", JSON, _ANYTHING), _ANSWER_ERRORS,
        body_of(ResponsesFields),
    ),
    Operation(
        "/messages", "post", "Anthropic's Messages: the same as a chat completion, in another shape",
        (200, "Anthropic's message, or with `stream` its events", JSON, _ANYTHING), _ANSWER_ERRORS, MESSAGES_BODY,
    ),
    Operation(
        "/messages/count_tokens", "post", "Estimated tokens of a Messages request; no model is called",
        (200, "The estimate, rather too high than too low", JSON, object_of("input_tokens", input_tokens=TOKENS)),
        _CHAT_ERRORS | {429: "too_many_concurrent_requests", 503: "overloaded"}, MESSAGES_BODY,
    ),
    Operation(
        "/embeddings", "post", "Vectors by the model that the request names; it is never routed",
        (200, "OpenAI's embeddings, as the upstream answers", JSON, _ANYTHING),
        _ANSWER_ERRORS | {400: _BODY_ERRORS[400]}, body_of(EmbeddingFields),
    ),
    Operation(
        "/feedback", "post", "Rate an answer or a session; the last rating counts, the same again changes nothing",
        (202, "Accepted; it is learned exactly once. 207 for a list: `data` has `status_code` and body for each", JSON,
         object_of("status duplicate", status=STRING, request_id=STRING, session_id=STRING,
                   requests={"type": "integer"}, duplicate={"type": "boolean"})),
        _BODY_ERRORS | {
            403: "source_not_allowed", 404: "request_not_found, session_not_found",
            409: "not_rateable: no whole answer; idempotency_key_reused; ambiguous_request_id (for admins)",
            410: "feedback_window_over", 429: "feedback_rate_limited",
            503: "feedback_unavailable: try again after Retry-After",
        },
        FEEDBACK_BODY,
    ),
    Operation(
        "/feedback/{token}", "post", "Rate an answer by the link that came with it, once; also takes a form's fields",
        (202, "Accepted; it is learned exactly once. 200 and a page for a form", JSON, object_of("status request_id")),
        _BODY_ERRORS | {
            403: "invalid_link: altered", 404: "not_found: there are no links here",
            409: "not_rateable: no whole answer",
            410: "link_used, feedback_window_over", 503: "feedback_unavailable: try again after Retry-After",
        },
        RATING_BODY, versioned=False, open=True,
    ),
    Operation(
        "/feedback/{token}", "get", "A page with a form that rates the answer; to open it changes nothing",
        (200, "The page", "text/html", STRING), {403: "invalid_link", 404: "not_found: there are no links here"},
        versioned=False, open=True,
    ),
    Operation(
        "/route", "post", "Dry run: the decision for this chat request; no model is called",
        (200, "The decision", JSON, object_of("object model order decision", decision=DECISION)),
        _CHAT_ERRORS | {404: "model_not_found", 429: "too_many_concurrent_requests", 503: "overloaded, no_models"},
        CHAT_BODY,
    ),
    Operation(
        "/models", "get", "`auto` and every arm",
        (200, "OpenAI's list", JSON, object_of("object data", object=STRING, data={"type": "array", "items": MODEL})),
        {},
    ),
    Operation(
        "/models/{model}", "get", "One model", (200, "OpenAI's model", JSON, MODEL), {404: "model_not_found"}
    ),
    Operation(
        "/requests/{request_id}", "get", "The record of a request: decision, evidence, outcome, feedback",
        (200, "The record", JSON, object_of("request_id id model status decision outcome", decision=DECISION)),
        _RECORD_ERRORS,
    ),
    Operation(
        "/requests", "get", "The latest requests, newest first: yours, or with an admin key all",
        (200, "A page; `next` is `before` of the next one, null at the end", JSON, LISTED),
        {400: "invalid_value, unsupported_parameter", 403: "admin_key_required: `owner`", 503: "records_unavailable"},
    ),
    Operation(
        "/settings", "get", "The settings in effect, secrets masked, with the source of each value",
        (200, "All settings", JSON, SETTINGS), {403: "admin_key_required"},
    ),
    Operation(
        "/stats", "get", "Figures of all traffic over time, by model",
        (200, "In all, by model, and in steps (`data`)", JSON, STATS),
        {400: "invalid_value, unsupported_parameter", 403: "admin_key_required", 503: "records_unavailable"},
    ),
    Operation(
        "/posteriors", "get", "What was believed of the quality of each model over time",
        (200, "In steps (`data`): the posterior at the end of each", JSON, POSTERIORS),
        {400: "invalid_value, unsupported_parameter", 403: "admin_key_required", 503: "records_unavailable"},
    ),
    Operation(
        "/dead-letters", "get", "Events that could not be applied, oldest first, with the reason",
        (200, "The oldest, and how many there are (`total`)", JSON, DEAD_LETTERS),
        {400: "invalid_value, unsupported_parameter", 403: "admin_key_required", 503: "records_unavailable"},
    ),
    Operation(
        "/dead-letters/requeue", "post", "Move all dead letters back to the events to learn; each is learned once",
        (200, "How many were moved", JSON, object_of("object requeued", object=STRING, requeued={"type": "integer"})),
        {400: "unsupported_parameter", 403: "admin_key_required", 503: "dependency_unavailable: try again"},
    ),
    Operation(
        "/spend", "get", "What your key used on each day, or with an admin key what each did; also as text/csv",
        (200, "A row for each day and key, today first", JSON, SPEND),
        {400: "invalid_value, unsupported_parameter", 503: "records_unavailable"},
    ),
    Operation(
        "/arms", "get", "The learned state of every arm, and with `kinds=1` of every kind of prompt",
        (200, "Evidence, posterior and share of traffic; `kinds`: the largest first", JSON, ARMS),
        {400: "invalid_value: `kinds` or `limit`", 403: "admin_key_required", 503: "no_snapshot"},
    ),
    Operation(
        "/arms/{arm}", "put", "Add a model to those that the router chooses from, permanently",
        (200, "The current models, and how they differ from LLM_MODELS", JSON, _ARM_LIST), _ARM_ERRORS,
    ),
    Operation(
        "/arms/{arm}", "delete", "Remove a model from those that the router chooses from; its learned state is kept",
        (200, "The current models, and how they differ from LLM_MODELS", JSON, _ARM_LIST),
        _ARM_ERRORS | {409: "last_arm: another one has to be added first"},
    ),
    Operation(
        "/metrics/{request_id}", "get", "The numbers of a request: latency split, tokens, cost, score, reward terms",
        (200, "The numbers", JSON, object_of("request_id model latency_ms tokens cost_usd score reward")),
        _RECORD_ERRORS, versioned=False,
    ),
    Operation(
        "/metrics", "get", "Prometheus metrics of this process", (200, "Metrics", "text/plain", STRING),
        {403: "admin_key_required"},
        versioned=False,
    ),
    Operation(
        "/health", "get", "State, latency and version of every part",
        (200, "Only `status` without an operator's key; everything with it", JSON, HEALTH), {},
        versioned=False, open=True,
    ),
    Operation(
        "/ready", "get", "Readiness for traffic; a degraded process is ready",
        (200, "Ready", JSON, object_of("status")), {503: "the reason"}, versioned=False, open=True,
    ),
    Operation(
        "/openapi.json", "get", "This document", (200, "OpenAPI 3.1", JSON, _ANYTHING), {}, versioned=False, open=True
    ),
    Operation(
        "/docs", "get", "This document as a page", (200, "A page", "text/html", STRING), {},
        versioned=False, open=True,
    ),
    Operation(
        "/ui", "get", "The dashboard", (200, "A page", "text/html", STRING), {}, versioned=False, open=True
    ),
    Operation(
        "/ui/{file}", "get", "A file of the dashboard", (200, "The file", "text/javascript", STRING),
        {404: "not_found"}, versioned=False, open=True,
    ),
)  # fmt: skip
