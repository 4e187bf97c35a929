"""Chat request: parsing and validation. Routing fields are removed, all other fields pass unchanged.

Fields by which an upstream or a client library would bypass the router are refused: nothing of a body ever reaches our
HTTP client's address or headers, and an error tells the caller so, where silence would ignore a wish (LiteLLM's
CVE-2024-6587 was an `api_base` in the body). They count at the top level and in `provider`; in metadata, schemas,
messages and tools they are the caller's own data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shared.errors import InvalidRequest
from shared.schemas.chat_fields import ChatFields
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements, requirements_of
from shared.schemas.strict_json import load_object, validate
from shared.schemas.terms import Terms, is_auto, terms_of
from shared.schemas.traits import traits_of
from shared.schemas.upstream import Native

MAX_PROMPT_CHARS = 1_500_000
"""Text of all messages together, some 400,000 tokens."""

DIALLING = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "default_headers", "default_query",
        "extra_body", "extra_headers", "extra_query", "http_client", "litellm_params", "organization_id", "user_config",
    }
)  # fmt: skip

REROUTING = frozenset({"fallbacks", "preset", "route"})
"""OpenRouter's fields that change the model without our knowledge. `models` is ours: it limits the arms."""

PLUGINS = frozenset({"context-compression", "file-parser", "moderation", "response-healing"})
"""OpenRouter's plugins that change neither the model nor its list price. `web`, `web-fetch` and those that choose among
models (`auto-router`, `fusion`, `pareto-router`) do."""

PROVIDER_WISHES = frozenset(
    {
        "allow_fallbacks", "data_collection", "enforce_distillable_text", "ignore", "max_price", "only", "order",
        "preferred_max_latency", "preferred_min_throughput", "quantizations", "require_parameters", "sort", "zdr",
    }
)  # fmt: skip
"""OpenRouter's `provider`: choices among the providers of one model, which are the caller's. Others are dropped."""

MAX_IGNORED = 8
_HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Translated(Struct, frozen=True, eq=False):
    """A body of another API as a chat body.

    Attributes:
        dropped: names of the fields that have no counterpart.
        caps_answer: whether the limit of the answer is one that the API requires of every request, so that it is no
            need: each model gets the part of it that it supports.
        native: the original for upstreams that have the API; None for none.
        refusal: why the request cannot be translated; `body` has the gist of it then.
    """

    body: dict[str, Any]
    dropped: tuple[str, ...] = ()
    caps_answer: bool = False
    native: Native | None = None
    refusal: InvalidRequest | None = None


Translate = Callable[[dict[str, Any]], Translated]
"""Converts the body of another API to a chat body."""

_KEPT_FROM_OPENROUTER = REROUTING | {"model", "models", "router"}
_KEPT_FROM_OTHERS = _KEPT_FROM_OPENROUTER | {"session_id"}


class ChatRequest(Struct, frozen=True, eq=False):
    """A validated body.

    Attributes:
        body: fields for the upstream, without `model`, `models`, our own fields and unknown wishes in `provider`;
            all others unchanged.
        model: the pinned model, or None for `auto` or no model.
        models: arms that the client allows; empty for all.
        routing_text: text of the last user message; "" where it has none (images only).
        stream: whether the answer is streamed.
        include_usage: whether a stream has a usage chunk: the client asked for it, or its dialect needs it.
        session_id: the conversation's name, or None. It is in `body`, too, where the upstream knows the field.
        requirements: what the request requires of a model.
        ignored: names of dropped fields, for a response header.
        traits: what is known of the request beside the routing text, for its kind of prompt.
        terms: the caller's own terms of the choice; None for those of the settings.
        caps_answer: see `Translated`.
        private: whether it says that its content must not be stored or collected.
        native: the request in the API that it came by, None for chat.
        refusal: why it cannot be translated, so that only an upstream with its API can serve it; None where it can.
    """

    body: Mapping[str, object]
    model: str | None
    models: tuple[str, ...]
    routing_text: str
    stream: bool
    include_usage: bool
    session_id: str | None = None
    requirements: Requirements = NO_REQUIREMENTS
    ignored: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    terms: Terms | None = None
    caps_answer: bool = False
    private: bool = False
    native: Native | None = None
    refusal: InvalidRequest | None = None


def parse_chat(raw: bytes, *, forward_session: bool = False, translate: Translate | None = None) -> ChatRequest:
    """Parse and validate a chat body, or one of another API through `translate`.

    Raises InvalidRequest, with the field named.

    `session_id` is ours and OpenRouter's; others refuse what they do not know, so it goes on only with
    `forward_session`.
    """
    body = load_object(raw)
    refuse_forbidden(body)
    private = _wants_privacy(body)
    ignored: tuple[str, ...] = ()
    translated = None
    if translate is not None:
        translated = translate(body)
        body, ignored = translated.body, safe_names(translated.dropped)
    caps_answer = translated is not None and translated.caps_answer
    fields = validate(ChatFields, body)
    messages = _checked(body["messages"])
    if sum([_text_chars(message.get("content")) for message in messages]) > MAX_PROMPT_CHARS:
        raise InvalidRequest(
            f"The messages are longer than {MAX_PROMPT_CHARS} characters.",
            code="context_length_exceeded",
            param="messages",
        )
    passed, unknown = _passed(body, forward_session=forward_session)
    native = None if translated is None else translated.native
    if native is not None:
        native = replace(native, body=_passed(native.body, forward_session=forward_session)[0])
    ignored = (*ignored, *unknown)
    text, requirements = _routing_text(messages), requirements_of(body)
    if caps_answer:
        requirements = replace(requirements, output_tokens=0)
    terms = terms_of(fields.model, fields.router)
    return ChatRequest(
        body=passed,
        model=None if is_auto(fields.model) else fields.model,
        models=tuple(fields.models or ()),
        routing_text=text,
        stream=bool(fields.stream),
        include_usage=translated is not None or bool(fields.stream_options and fields.stream_options.include_usage),
        session_id=fields.session_id,
        requirements=requirements,
        ignored=ignored,
        traits=traits_of(body, text, requirements.features),
        terms=terms,
        caps_answer=caps_answer,
        private=private,
        native=native,
        refusal=None if translated is None else translated.refusal,
    )


def _passed(body: Mapping[str, Any], *, forward_session: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields for the upstream, and the names of dropped wishes."""
    kept_back = _KEPT_FROM_OPENROUTER if forward_session else _KEPT_FROM_OTHERS
    passed = {name: value for name, value in body.items() if name not in kept_back}
    wishes, unknown = passed.pop("provider", None), tuple[str, ...]()
    if wishes is not None:
        wishes, unknown = known_wishes(wishes)
        if wishes is not None:
            passed["provider"] = wishes
    return passed, unknown


def _wants_privacy(body: Mapping[str, Any]) -> bool:
    """Return whether `store` or OpenRouter's `provider` says that the content must not be stored or collected."""
    wishes = body.get("provider")
    if isinstance(wishes, dict) and (wishes.get("data_collection") == "deny" or wishes.get("zdr")):
        return True
    return body.get("store") is False


def _checked(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the messages, each an object with a role. The upstream checks their other fields."""
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest("Input should be an object.", code="invalid_type", param=f"messages[{index}]")
        if not isinstance(message.get("role"), str):
            code = "invalid_type" if "role" in message else "missing_required_parameter"
            raise InvalidRequest("A message needs its role, a string.", code=code, param=f"messages[{index}].role")
    return messages


def _texts(content: object) -> list[str]:
    """Return the texts of a message's content; none where it has another shape."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return [text for text in texts if isinstance(text, str)]


def _text_chars(content: object) -> int:
    return len(content) if isinstance(content, str) else sum([len(text) for text in _texts(content)])


def _routing_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(_texts(message.get("content")))
    return ""


# -- refused and dropped fields ---------------------------------------------------------------------------------------


def refuse_forbidden(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if `body` contains a field that would bypass the router."""
    for name in sorted(DIALLING & body.keys()):
        raise _dialling(name)
    for name in sorted(REROUTING & body.keys()):
        if body[name]:
            raise _unsupported(name, f"`{name}` would change the model behind the router. `models` narrows its choice.")
    if body.get("plugins"):
        _check_plugins(body["plugins"])
    provider = body.get("provider")
    if isinstance(provider, dict):
        for name in sorted(DIALLING & provider.keys()):
            raise _dialling(f"provider.{name}")


def known_wishes(provider: object) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the part of `provider` that the upstream gets, and the names of dropped wishes, safe for a header."""
    if not isinstance(provider, dict):
        return None, ("provider",)
    known = {name: value for name, value in provider.items() if name in PROVIDER_WISHES}
    dropped = [f"provider.{name}" for name in provider if name not in PROVIDER_WISHES and _HEADER_SAFE.fullmatch(name)]
    if len(known) + len(dropped) < len(provider):
        dropped.append("provider.*")
    return known or None, tuple(dropped[:MAX_IGNORED])


def safe_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of fields that are safe in a header, at most `MAX_IGNORED`."""
    return tuple([name for name in names if _HEADER_SAFE.fullmatch(name)][:MAX_IGNORED])


def _check_plugins(plugins: object) -> None:
    if not isinstance(plugins, list):
        raise InvalidRequest("`plugins` must be a list of objects.", code="invalid_type", param="plugins")
    for index, plugin in enumerate(plugins):
        name = plugin.get("id") if isinstance(plugin, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest(
                "A plugin must be an object with an `id`, a string.", code="invalid_type", param=f"plugins[{index}]"
            )
        if name not in PLUGINS and plugin.get("enabled") is not False:
            raise _unsupported(
                f"plugins[{index}].id",
                f"That plugin may change the model or its price. These pass: {', '.join(sorted(PLUGINS))}.",
            )


def _dialling(param: str) -> InvalidRequest:
    name = param.rpartition(".")[2]
    return _unsupported(param, f"`{name}` does not change which address or key the router uses. Remove it.")


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_parameter", param=param)
