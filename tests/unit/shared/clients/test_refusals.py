"""The table of refusals: an example for each row, and further ones that must not be taken for another row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from shared.clients.refusals import TABLE, Refusal, row_of
from shared.clients.upstream_errors import of_error_body, of_status
from shared.clients.upstream_words import words_of
from shared.errors import Scope, UpstreamError
from shared.schemas.requirements import Requirements
from shared.schemas.upstream import Call

ALL = frozenset({"tools", "tool_choice", "image", "audio", "response_format", "structured_outputs", "logprobs"})


@dataclass(frozen=True)
class Case:
    """What an upstream answers, the row that is meant, and the feature that is learned."""

    row: str
    status: int
    said: Any
    feature: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)
    used: frozenset[str] = ALL

    @property
    def error(self) -> dict[str, Any]:
        said = self.said if isinstance(self.said, dict) else {"message": self.said}
        return {**said, **({"metadata": dict(self.metadata)} if self.metadata else {})}

    @property
    def call(self) -> Call:
        return Call("maker/model-7:free", self.body, "own-id", 0.0, {}, Requirements(self.used, 10, 10))


BYOK = {"provider_name": "Azure", "is_byok": True, "raw": "Invalid key"}
WISH = {"provider": {"only": ["nobody"]}}
CASES = (
    Case("moderation", 403, "Your chosen model requires moderation and your input was flagged"),
    Case("moderation", 400, {"message": "The response was filtered", "code": "content_filter"}),
    Case("moderation", 400, "Content Exists Risk"),
    Case("moderation", 403, "Content violates usage guidelines. Team: t, API key ID: k, Failed check: CSAM"),
    Case("moderation, by its reasons", 403, "no", metadata={"reasons": ["violence"], "provider_name": "OpenAI"}),
    Case("more than is left", 402, "This request requires more credits, or fewer max_tokens. You requested up to 60000 "
         "tokens, but can only afford 1333.", metadata={"provider_name": None}),
    Case("more than is left", 402, "Prompt tokens limit exceeded: 230799 > 91442."),
    Case("more than is left", 402, "Try later", metadata={"limit_source": "openrouter_in_flight_budget"}),
    Case("a provider's own key", 401, "bad key", metadata=BYOK),
    Case("a provider's own key", 402, "Insufficient Balance", metadata={"provider_name": "DeepSeek"}),
    Case("a provider's own key", 403, "This API key may not", metadata={"is_byok": True}),
    Case("a provider's own key, as a client error", 400, "Provider returned error: Your credit balance is too low to "
         "access the Anthropic API.", metadata={"provider_name": "Anthropic"}),
    Case("a provider's own key, as a client error", 400, "API key expired.", metadata=BYOK),
    Case("no credit", 402, "Insufficient credits. This account never purchased credits."),
    Case("no credit", 402, ""),
    Case("no credit, in words", 403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/keys"),
    Case("no credit, in words", 403, "Spent", metadata={"limit_source": "openrouter_workspace_budget"}),
    Case("no credit, in words", 403, "Sorry, your account balance is insufficient"),
    Case("no credit, in words", 403, "Your newly created team doesn't have any credits yet."),
    Case("no credit, as a client error", 400, "Your credit balance is too low to access the Anthropic API."),
    Case("no credit, as a client error", 412, "Account x-1 is suspended, possibly due to reaching the spending limit"),
    Case("no quota", 429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    Case("no key", 401, "No auth credentials found"),
    Case("no key", 401, "", metadata={"provider_name": None}),
    Case("no key, as a client error", 400, "API key not valid. Please pass a valid API key."),
    Case("no access to the model", 403, "Project `p` does not have access to model `gpt-9`"),
    Case("no access to the model", 403, "Country, region, or territory not supported"),
    Case("no access to the model", 403, "This model is not available in your region."),
    Case("forbidden to the key", 403, "This key is disabled"),
    Case("forbidden to the key", 403, "Permission denied: Consumer 'api_key:k' has been suspended."),
    Case("forbidden", 403, ""),
    Case("forbidden", 451, "Unavailable for legal reasons"),
    Case("no provider as wished", 404, "No allowed providers are available for the selected model.", body=WISH),
    Case("no provider as wished", 503, "No available model provider meets your routing requirements", body=WISH),
    Case("broken tool history", 400, "An assistant message with 'tool_calls' must be followed by tool messages "
         "responding to each 'tool_call_id'."),
    Case("history of another model", 400, "Tool call id was call_9 but must be a-z, A-Z, 0-9, with a length of 9.",
         "tool_history"),
    Case("history of another model", 400, "messages.1.content.0: Invalid `signature` in `thinking` block",
         "tool_history", used=frozenset()),
    Case("history of another model", 400, "Missing `reasoning_content` field in the assistant message at index 2",
         "tool_history"),
    Case("history of another model", 400, "The `reasoning_content` in the thinking mode must be passed back to us.",
         "tool_history"),
    Case("history of another model", 400, "Function call is missing a thought_signature in functionCall parts.",
         "tool_history"),
    *(Case("prompt too long", status, said, "context", used=frozenset()) for status, said in (
        (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
        (400, "Your input exceeds the context window of this model"),
        (400, "prompt is too long: 213462 tokens > 200000 maximum"),
        (400, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."),
        (400, "exceeds the maximum number of tokens allowed"),
        (400, "the request exceeds the available context size, try increasing it"),
        (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
        (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
        (400, "Please reduce the length of the messages or completion."),
        (400, {"message": "no", "code": "context_length_exceeded"}),
        (413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000"),
        (422, "Input is too long for requested model."),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs`"),
        (400, "Range of input length should be [1, 30720]"),
        (400, "total tokens of image and text exceed max message tokens"),
        (400, "Prompt length 9000 exceeds maximum 8192"),
        (500, "Context size has been exceeded."),
    )),
    Case("feature not supported", 404, "No endpoints found that support tool use.", "tools"),
    Case("feature not supported", 404, "No endpoints found that support the provided 'tool_choice' value.",
         "tool_choice"),
    Case("feature not supported", 404, "No endpoints found that support image input", "image"),
    Case("feature not supported", 404, "No endpoints found that support image input", None, used=frozenset({"tools"})),
    Case("feature not supported", 404, "No endpoints found that can handle the requested parameters."),
    Case("feature not supported", 400, "response_format is not supported with this model", "response_format"),
    Case("feature not supported", 400, "response_format.json_schema is not supported here", "structured_outputs"),
    Case("feature not supported", 400, '"auto" tool choice requires --enable-auto-tool-choice', "tool_choice"),
    Case("feature not supported", 400, "Unsupported parameter: 'max_tokens' is not supported with this model."),
    Case("feature not supported", 400, "Unsupported image format: image/heic"),
    Case("feature not supported", 400, "tools[0].function.parameters: 'oneOf' is not supported"),
    Case("feature not supported", 400, 'Unsupported value: "tools are not for you"', None),
    Case("feature not supported", 400, "`tool calling` is not supported with this model", "tools"),
    Case("feature not supported", 400, "This response_format type is unavailable now", "structured_outputs",
         used=frozenset({"structured_outputs"})),
    Case("feature not supported", 400, "Failed to deserialize the JSON body into the target type: messages[0]: unknown "
         "variant `image_url`, expected `text`", "image"),
    Case("feature not supported", 400, "Invalid content type. image_url is only supported by certain models.", "image"),
    Case("feature not supported", 400, "At most 0 image(s) may be provided in one prompt.", "image"),
    Case("feature not supported", 400, "messages[0].content must be a string"),
    Case("feature not supported", 400, "Thinking may not be enabled when tool_choice forces tool use."),
    Case("feature not supported", 400, "You uploaded an unsupported image. Please make sure your image is valid."),
    Case("feature not supported", 400, "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or "
         "anyOf at the top level"),
    Case("feature not supported, as a fault", 501, "tools is not implemented", "tools"),
    Case("feature not supported, as a fault", 500, "image input is not supported - hint: if this is unexpected, you "
         "may need to provide the mmproj", "image"),
    Case("field not known", 422, {"detail": [{"loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}]},
         "logprobs"),
    Case("field not known", 400, "Unrecognized request argument supplied: tools", "tools"),
    Case("field not known", 400, "Unrecognized request argument supplied: reasoning_effort", "reasoning",
         used=frozenset({"reasoning"})),
    Case("field not known", 400, "Unknown name \"additionalProperties\" at 'tools[0].parameters': Cannot find field."),
    Case("model gone, in words", 400, "maker/model-7:free is not a valid model ID"),
    Case("model gone, in words", 400, "The model `model-7` has been decommissioned"),
    Case("model gone, in words", 400, {"message": "no", "code": "model_not_found"}),
    Case("a limit of the model", 400, "Tool 'model not found' is no tool"),
    Case("a limit of the model", 400, "max_tokens is too large: 99. It may be 10."),
    Case("a limit of the model", 400, "Conversation roles must alternate user/assistant/user"),
    Case("a limit of the model", 422, "At most 1 image may be given"),
    Case("too large", 413, ""),
    Case("malformed", 400, "temperature is too hot"),
    Case("malformed", 422, {"detail": [{"loc": ["body", "n"], "msg": "Input should be a valid integer"}]}),
    Case("malformed", 400, "Tool choice 'api key not valid' is unclear"),
    Case("model gone", 404, "No endpoints found for maker/model-7."),
    Case("model gone", 404, ""),
    Case("model gone", 404, "models/m is not found for API version v1, or is not supported for generateContent."),
    Case("model gone", 410, "gone"),
    Case("a limit that all free models share", 429, "Rate limit exceeded: free-models-per-day. Add 10 credits"),
    Case("a limit that all free models share", 429, "no", metadata={"limit_source": "openrouter_free_tier_daily"}),
    Case("more tokens than its rate", 429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000",
         "context", used=frozenset()),
    Case("busy", 429, "You exceeded your current quota: generate_content_free_tier_requests, limit: 15"),
    Case("busy", 408, "slow"),
    Case("fault", 500, "image input is not supported", used=frozenset()),
    Case("fault", 503, "No available model provider meets your routing requirements"),
    Case("client error without a meaning", 405, "Method not allowed"),
    Case("no answer", 302, ""),
)  # fmt: skip


def refused(case: Case) -> UpstreamError:
    body = case.error if "detail" in case.error else {"error": case.error}
    return of_status(case.status, {}, orjson.dumps(body), case.call)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.status}")
def test_a_refusal_is_judged_by_its_row(case: Case) -> None:
    """Status, words and metadata choose the row; the row decides the scope, and which feature is learned."""
    row = row_of(Refusal(case.status, words_of(case.error), case.call))
    assert row.name == case.row
    error = refused(case)
    assert (error.scope, error.feature, error.try_next) == (row.scope, case.feature, row.try_next)


def test_every_row_has_an_example() -> None:
    """A row that nothing reaches is a mistake: one in front of it takes all."""
    assert [row.name for row in TABLE] == list(dict.fromkeys(row.name for row in TABLE)), "names are unique"
    assert {row.name for row in TABLE} == {case.row for case in CASES}


@pytest.mark.parametrize("case", [case for case in CASES if case.status >= 400], ids=lambda case: str(case.status))
def test_an_error_under_200_is_judged_by_its_code(case: Case) -> None:
    """The same in all; a 4xx is not counted as paid, and a code in digits is one, too."""
    for code in (case.status, str(case.status)):
        if isinstance(case.said, dict):
            continue
        error, plain = of_error_body({**case.error, "code": code}, case.call), refused(case)
        seen = ("status", "scope", "feature", "try_next", "cool_s", "relay", "reason")
        assert [getattr(error, name) for name in seen] == [getattr(plain, name) for name in seen]
        assert error.spent is (case.status >= 500)


FIT = {
    *("moderation", "moderation, by its reasons", "more than is left", "forbidden", "no provider as wished"),
    *("history of another model", "prompt too long", "feature not supported", "feature not supported, as a fault"),
    *("field not known", "a limit of the model", "too large", "more tokens than its rate"),
}
"""Another model may serve the request, and the refused one has done nothing wrong."""


def test_each_refusal_has_its_scope() -> None:
    """Request, fit, key, credit, or else the arm; the request alone ends the search for an answer."""
    blamed = {
        **dict.fromkeys(("broken tool history", "malformed"), Scope.REQUEST),
        **dict.fromkeys(FIT, Scope.FIT),
        **dict.fromkeys(("no key", "no key, as a client error", "forbidden to the key"), Scope.KEY),
        **dict.fromkeys(("no credit", "no credit, in words", "no credit, as a client error", "no quota"), Scope.CREDIT),
    }
    assert {row.name: row.scope for row in TABLE} == {row.name: blamed.get(row.name, Scope.ARM) for row in TABLE}
    last = {row.name for row in TABLE if not row.try_next}
    assert last == {"broken tool history", "malformed", "no answer"}


@pytest.mark.parametrize(("status", "cool_s"), [(429, 5), (503, 2), (529, 5), (500, 1), (408, 1), (404, 60), (410, 60)])
def test_an_arm_cools_down_for_as_long_as_its_status_asks(status: int, cool_s: float) -> None:
    """Where the upstream says nothing of it: longer for a limit than for a fault, and a minute for a model gone."""
    assert of_status(status, {}, b"").cool_s == cool_s


def test_an_arm_cools_down_only_for_its_own_failure() -> None:
    """REQUEST and FIT leave no mark: no rest, and no failure of the arm."""
    for case in CASES:
        error = refused(case)
        assert (error.cool_s > 0) is (error.scope is Scope.ARM or case.row == "no quota"), case


@pytest.mark.parametrize("code", [None, 1, 3280, "1", "context", True, 200, 399, 600, 4.5])
def test_an_error_under_200_without_a_status_is_a_paid_failure(code: object) -> None:
    """Its meaning is unknown: the next arm is called once, and it is counted."""
    error = of_error_body({"message": "fell over", "code": code})
    assert (error.status, error.spent, error.try_next, error.scope) == (200, True, True, Scope.ARM)
    assert error.reason == "fell over"


@pytest.mark.parametrize("status", [401, 408, 409, 425, 429])
def test_what_concerns_our_own_account_is_not_relayed(status: int) -> None:
    """A client must not take the refusal of the router's key, or its limit, for one of its own."""
    assert of_status(status, {}, b'{"error": {"message": "no"}}').relay is None
    assert of_status(422, {}, b'{"error": {"message": "no"}}').relay is not None
