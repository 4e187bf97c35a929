"""Chat bodies: which are refused, which fields are dropped; all others go to the upstream unchanged."""

from __future__ import annotations

import inspect
import json
from typing import Any

import orjson
import pytest
from openai.resources.chat.completions import Completions

from services.gateway.http.openapi import CHAT_BODY, FEEDBACK_BODY, ROUTER_HEADERS
from services.gateway.http.request_lifecycle import _EXPOSED
from services.gateway.limits.quotas import answer_tokens
from shared.errors import InvalidRequest
from shared.schemas.chat import DIALLING, PLUGINS, PROVIDER_WISHES, parse_chat
from shared.schemas.chat_fields import ChatFields

USER = [{"role": "user", "content": "hello"}]


def passed(**fields: Any) -> dict[str, Any]:
    """Return what goes to the upstream."""
    raw = json.dumps({"messages": USER, **fields}).encode()
    body: dict[str, Any] = json.loads(orjson.dumps(parse_chat(raw).body))
    return body


def refused(**fields: Any) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        passed(**fields)
    return caught.value.code, caught.value.param


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": -1},
        {"max_tokens": -1},
        {"max_tokens": 0},
        {"max_tokens": 100.0},
        {"max_tokens": 2**70},
        {"max_completion_tokens": None},
        {"temperature": 99, "top_p": 7, "presence_penalty": -9, "top_logprobs": 99},
        {"n": 2.0},
        {"seed": 2**70},
        {"user": "u" * 100_000},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 2**70, "api_key": {}}}}]},
        {"tools": [{}] * 2000},
        {"guided_json": {"properties": {"base_url": {}}}, "structured_outputs": {"json": {"api_base": {}}}},
        {"metadata": {"api_version": "2", "api_key": "x"}},
        {"messages": [{"role": "assistant", "content": None, "reasoning_content": "t", "tool_calls": []}, *USER]},
        {"messages": [{"role": "assistant", "content": None}, {"role": "oracle", "content": 7, "name": "n" * 999}]},
        {"messages": [{"role": "tool", "tool_call_id": "c" * 5000, "content": [{"text": "x"}, "y", 7, {}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {"api_key": "x"}}}] * 1000}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": USER * 5000},
    ],
)
def test_what_the_router_does_not_use_is_the_upstreams_to_judge(fields: dict[str, Any]) -> None:
    """It goes on as it came."""
    assert passed(**fields) == {"messages": USER, **fields}


def test_every_parameter_of_the_openai_sdk_goes_on() -> None:
    """Whatever the official client can send by itself; the routing fields are the router's."""
    own = {"self", "messages", "model", "stream", "stream_options", "n", "temperature", "timeout"}
    client_side = {"extra_headers", "extra_query", "extra_body"}  # it takes them apart itself
    names = set(inspect.signature(Completions.create).parameters) - own - client_side
    assert {"metadata", "prediction", "service_tier", "store", "web_search_options"} <= names
    fields = {name: 1 if "tokens" in name else {"any": ["thing", name]} for name in names}
    assert passed(**fields) == {"messages": USER, **fields}


def test_a_byte_order_mark_is_named() -> None:
    """It is invisible in an editor, so the error says what to remove."""
    with pytest.raises(InvalidRequest, match="starts with a byte order mark"):
        parse_chat(b"\xef\xbb\xbf" + json.dumps({"messages": USER}).encode())


@pytest.mark.parametrize("name", sorted(DIALLING))
def test_dialling_names_are_refused_at_the_top_and_in_provider(name: str) -> None:
    """And nowhere else: there they are the caller's own data."""
    assert refused(**{name: "http://elsewhere"}) == ("unsupported_parameter", name)
    assert refused(provider={name: "x"}) == ("unsupported_parameter", f"provider.{name}")
    own = {"metadata": {name: "x"}, "tools": [{name: {}}], "vendor": [{name: 1}]}
    assert passed(**own) == {"messages": USER, **own}


@pytest.mark.parametrize("name", ["fallbacks", "preset", "route"])
def test_what_changes_the_model_behind_the_router_is_refused(name: str) -> None:
    """Unless it is empty."""
    assert refused(**{name: ["other/model"]}) == ("unsupported_parameter", name)
    assert passed(**{name: None}) == {"messages": USER}


def test_harmless_plugins_go_on() -> None:
    """A plugin that may change the model or its price is refused, unless it is there to be switched off."""
    harmless = [{"id": name, "max_files": 3} for name in sorted(PLUGINS)]
    for plugins in ([], harmless, [{"id": "web", "enabled": False}]):
        assert passed(plugins=plugins)["plugins"] == plugins
    for name in ("web", "web-fetch", "auto-router", "fusion", "new"):
        assert refused(plugins=[*harmless, {"id": name}]) == ("unsupported_parameter", f"plugins[{len(harmless)}].id")
    assert refused(plugins={"id": "file-parser"}) == ("invalid_type", "plugins")
    assert refused(plugins=["file-parser"]) == ("invalid_type", "plugins[0]")


def test_unknown_wishes_of_provider_are_dropped_and_named() -> None:
    """Known ones go on; a name that is not safe in a header is not repeated."""
    known = dict.fromkeys(sorted(PROVIDER_WISHES), "x")
    raw = {"messages": USER, "provider": {**known, "foo": 1, "a\r\nx-evil: 1": 2, "n" * 99: 3}}
    chat = parse_chat(json.dumps(raw).encode())
    assert chat.body["provider"] == known
    assert chat.ignored == ("provider.foo", "provider.*")
    for provider, ignored in (({"foo": 1}, ("provider.foo",)), ("openai", ("provider",)), ({}, ()), (None, ())):
        chat = parse_chat(json.dumps({"messages": USER, "provider": provider}).encode())
        assert "provider" not in chat.body
        assert chat.ignored == ignored
    many = parse_chat(json.dumps({"messages": USER, "provider": {f"p{n}": 1 for n in range(99)}}).encode())
    assert len(", ".join(many.ignored)) < 1000


def test_a_limit_that_cannot_be_read_is_none_for_a_budget() -> None:
    """Some upstreams take 0 and -1 for no limit; a budget then takes a usual length."""
    usual = answer_tokens({})
    for most in (-1, 0, None, 10**12, orjson.Fragment(str(2**70))):
        assert answer_tokens({"max_tokens": most}) == usual
    assert answer_tokens({"max_tokens": 100.0, "n": 2.0}) == 200
    assert answer_tokens({"max_tokens": 50, "max_completion_tokens": -1}) == 50


def test_a_browser_may_read_every_header_of_the_router() -> None:
    """A new one is exposed as soon as the contract names it."""
    assert set(ROUTER_HEADERS) <= set(_EXPOSED.split(", "))
    assert "x-router-ignored" in ROUTER_HEADERS


def test_the_contract_names_every_field_that_is_checked() -> None:
    """It is made from the models that check."""
    assert set(CHAT_BODY["properties"]) == {*ChatFields.model_fields, "provider"}
    assert CHAT_BODY["properties"]["stream_options"]["properties"]["include_usage"]["type"] == ["boolean", "null"]
    assert CHAT_BODY["properties"]["messages"]["items"]["required"] == ["role"]
    rating, ratings = FEEDBACK_BODY["anyOf"]
    assert ratings == {"type": "array", "items": rating, "minItems": 1, "maxItems": 1000}
    assert rating["required"] == ["score"]
    assert rating["properties"]["score"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert rating["properties"]["source"]["enum"] == ["user", "eval", "judge", "check", "implicit"]
    assert "$ref" not in str(CHAT_BODY)
    assert CHAT_BODY["properties"]["model"]["pattern"] == "^[!-~]+$"  # JSON Schema knows no \\z


@pytest.mark.parametrize(
    ("field", "most"), [("messages", USER * 8192), ("models", ["a/b"] * 64), ("n", 128), ("session_id", "s" * 128)]
)
def test_the_contract_names_the_ranges_that_the_router_keeps(field: str, most: Any) -> None:
    """The largest value that the document allows is served, one more is refused with its field."""
    described = CHAT_BODY["properties"][field]
    bound = next(described[name] for name in ("maxItems", "maxLength", "maximum") if name in described)
    assert bound == (most if isinstance(most, int) else len(most))
    passed(**{field: most})
    assert refused(**{field: most + 1 if isinstance(most, int) else most + most[:1]}) == ("invalid_value", field)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("the last", "the last"),
        ([{"type": "text", "text": "one"}, {"type": "image_url"}, {"text": "two"}, "three", 7], "one\ntwo\nthree"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}], ""),
        (None, ""),
        (7, ""),
    ],
)
def test_the_choice_depends_on_the_last_user_message(content: object, text: str) -> None:
    """Not on the first one, nor on what the assistant or a tool said after it; of its parts the texts count."""
    messages = [
        {"role": "user", "content": "the first"},
        {"role": "assistant", "content": "an answer"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "a call"},
        {"role": "tool", "content": "a result"},
    ]
    assert parse_chat(json.dumps({"messages": messages}).encode()).routing_text == text


@pytest.mark.parametrize("number", [0, 129, 1.5, True, "2"])
def test_a_request_is_for_one_to_128_answers(number: object) -> None:
    """What `n` is multiplied with, tokens and costs, stays above nothing and within bounds."""
    assert refused(n=number)[1] == "n"
    assert passed(n=1)["n"] == 1
    assert passed(n=128)["n"] == 128


@pytest.mark.parametrize(
    ("fields", "private"),
    [
        ({"store": False}, True),
        ({"provider": {"data_collection": "deny", "order": ["a"]}}, True),
        ({"provider": {"zdr": True}}, True),
        ({}, False),
        ({"store": True}, False),
        ({"store": None}, False),
        ({"store": 0}, False),
        ({"provider": {"data_collection": "allow", "zdr": False}}, False),
        ({"provider": "deny"}, False),
    ],
)
def test_a_wish_for_privacy_is_read_from_the_body(fields: dict[str, object], *, private: bool) -> None:
    """It stays in the body, for the upstream."""
    found = parse_chat(orjson.dumps({"messages": [{"role": "user", "content": "x"}], **fields}))
    assert found.private is private
    if "store" in fields:
        assert found.body["store"] == fields["store"]


@pytest.mark.parametrize(
    ("options", "included"),
    [(None, False), ({}, False), *(({"include_usage": sent}, sent is True) for sent in (True, False, None))],
)
def test_a_stream_has_a_usage_chunk_only_on_request(options: dict[str, object] | None, *, included: bool) -> None:
    """An option that is null or false requests nothing."""
    found = parse_chat(orjson.dumps({"messages": USER, "stream": True, "stream_options": options}))
    assert found.include_usage is included
