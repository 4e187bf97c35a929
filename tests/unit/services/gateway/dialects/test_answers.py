"""Answers in both dialects: a stream adds up to the whole answer, whatever form its chunks have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway.dialects.dialect import Dialect, Envelope, TranslatedSink
from services.gateway.dialects.messages import MESSAGES
from services.gateway.dialects.responses import RESPONSES
from tests.support.fakes.sink import FakeSink

ENVELOPE = Envelope("0190", 1_700_000_000, "a/small", 9)
USAGE = {
    "prompt_tokens": 20, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 3},
}  # fmt: skip
DONE = b"data: [DONE]\n\n"


def call(call_id: str | None, name: str | None, arguments: str, index: int | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {"function": {"arguments": arguments, **({"name": name} if name else {})}}
    return fields | ({"id": call_id} if call_id else {}) | ({} if index is None else {"index": index})


FORMS: dict[str, list[dict[str, Any]]] = {
    "text": [{"role": "assistant", "content": ""}, {"content": "Two "}, {"content": "words"}],
    "reasoning, then text": [{"reasoning": "Hm"}, {"reasoning_content": "m"}, {"content": "Yes"}],
    "text, then a call": [{"content": "I look."}, {"tool_calls": [call("c1", "f", "", 0)]},
                          {"tool_calls": [call(None, None, '{"a":1}', 0)]}],
    "parallel calls that alternate": [
        {"tool_calls": [call("c1", "f", "", 0), call("c2", "g", "", 1)]},
        {"tool_calls": [call(None, None, '{"b":', 1)]}, {"tool_calls": [call(None, None, "{}", 0)]},
        {"tool_calls": [call(None, None, "2}", 1)]},
    ],
    "calls without an index": [{"tool_calls": [call("c1", "f", "{}")]}, {"tool_calls": [call("c2", "g", "{}")]}],
    "a refusal": [{"refusal": "I can "}, {"refusal": "not."}],
}  # fmt: skip


def streamed(dialect: Dialect, deltas: list[dict[str, Any]], *, last: bytes = DONE, **asked: Any) -> list[Any]:
    """Return the events of a stream as (type, data)."""
    sink = FakeSink()
    translated = TranslatedSink(begun(dialect, **asked).events(ENVELOPE), sink)
    chunks: list[dict[str, Any]] = [{"model": "a/b", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish(deltas)}]})
    for chunk in (*chunks, {"choices": [], "usage": USAGE}):
        translated.put(b": keep-alive\n\ndata: " + json.dumps(chunk).encode() + b"\n\n")
    text = b"".join(sink.frames) + translated.last(last)
    assert text.count(b": keep-alive\n\n") == len(chunks) + 1
    events = [event for event in text.decode().split("\n\n") if event and not event.startswith(":")]
    pairs = [event.split("\n") for event in events]
    assert all(json.loads(data[6:])["type"] == kind.removeprefix("event: ") for kind, data in pairs)
    return [json.loads(data[6:]) for _, data in pairs]


def begun(dialect: Dialect, **asked: Any) -> Any:
    exchange = dialect.begin()
    exchange.chat_body({"messages": [{"role": "user", "content": "Hi"}], "input": "Hi", **asked})
    return exchange


def whole(dialect: Dialect, deltas: list[dict[str, Any]], **asked: Any) -> Any:
    """Return the answer to the same message, sent whole."""
    message: dict[str, Any] = {}
    calls: dict[Any, dict[str, Any]] = {}
    for delta in deltas:
        for name in ("content", "reasoning", "reasoning_content", "refusal"):
            if name in delta:
                key = "reasoning" if name == "reasoning_content" else name
                message[key] = message.get(key, "") + delta[name]
        for one in delta.get("tool_calls", ()):
            known = calls.setdefault(one.get("index", one.get("id")), call(one.get("id"), None, ""))
            known["function"]["name"] = one["function"].get("name") or known["function"]["name"]
            known["function"]["arguments"] += one["function"]["arguments"]
    if calls:
        message["tool_calls"] = list(calls.values())
    choice = {"index": 0, "message": message, "finish_reason": finish(deltas)}
    body = {"model": "a/b", "choices": [choice], "usage": USAGE}
    return json.loads(begun(dialect, **asked).answer(body, ENVELOPE))


def finish(deltas: list[dict[str, Any]]) -> str:
    return "tool_calls" if any("tool_calls" in delta for delta in deltas) else "stop"


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_of_messages_adds_up_to_the_whole_message(form: str) -> None:
    """As Anthropic's SDK adds it up: start, deltas by index, and the last delta."""
    events = streamed(MESSAGES, FORMS[form], thinking={"type": "enabled", "budget_tokens": 1024})
    message = events[0]["message"]
    assert message["usage"]["input_tokens"] == ENVELOPE.prompt_tokens
    arguments: dict[int, str] = {}
    closed: list[int] = []
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                assert event["index"] not in closed
                block = message["content"][event["index"]]
                name, text = next(item for item in event["delta"].items() if item[0] != "type")
                if name == "partial_json":
                    arguments[event["index"]] = arguments.get(event["index"], "") + text
                else:
                    block[name] += text
            case "content_block_stop":
                closed.append(event["index"])
            case "message_delta":
                message |= event["delta"] | {"usage": event["usage"]}
    for index, text in arguments.items():
        message["content"][index]["input"] = json.loads(text)
    assert sorted(closed) == list(range(len(message["content"])))
    assert message == whole(MESSAGES, FORMS[form], thinking={"type": "enabled", "budget_tokens": 1024})
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_of_responses_adds_up_to_the_whole_response(form: str) -> None:
    """By its deltas, by its items, and by its last event."""
    events = streamed(RESPONSES, FORMS[form])
    expected = whole(RESPONSES, FORMS[form])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1] == {"type": "response.completed", "sequence_number": len(events) - 1, "response": expected}
    items = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [items[index] for index in range(len(items))] == expected["output"]
    texts: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
            assert event["item_id"] == expected["output"][event["output_index"]]["id"]
    assert [texts[index] for index in sorted(texts)] == [text_of(item) for item in expected["output"]]


def text_of(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    (inner,) = item["summary"] if item["type"] == "reasoning" else item["content"]
    return str(inner.get("text") or inner.get("refusal"))


def test_figures_of_tokens() -> None:
    """Anthropic counts cached tokens beside the input, OpenAI within it."""
    assert whole(MESSAGES, FORMS["text"])["usage"] == {
        "input_tokens": 8, "output_tokens": 7, "cache_read_input_tokens": 12, "cache_creation_input_tokens": 0,
    }  # fmt: skip
    usage = whole(RESPONSES, FORMS["text"])["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (20, 7, 27)
    assert usage["input_tokens_details"]["cached_tokens"] == 12
    assert usage["output_tokens_details"]["reasoning_tokens"] == 3


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason", "status"),
    [("stop", "end_turn", "completed"), ("length", "max_tokens", "incomplete"),
     ("content_filter", "refusal", "incomplete"), (None, "end_turn", "completed")],
)  # fmt: skip
def test_why_an_answer_ended(finish_reason: str | None, stop_reason: str, status: str) -> None:
    """An answer that was cut short is not reported as whole."""
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": finish_reason}]}
    assert json.loads(begun(MESSAGES).answer(body, ENVELOPE))["stop_reason"] == stop_reason
    assert json.loads(begun(RESPONSES).answer(body, ENVELOPE))["status"] == status


def test_a_call_that_ends_with_stop_is_still_a_call() -> None:
    """Some upstreams end calls so; the client would not answer them."""
    body = {"choices": [{"message": {"tool_calls": [call(None, "f", "")]}, "finish_reason": "stop"}]}
    message = json.loads(begun(MESSAGES).answer(body, ENVELOPE))
    assert message["stop_reason"] == "tool_use"
    assert message["content"] == [{"type": "tool_use", "id": "call_0190_0", "name": "f", "input": {}}]


def test_reasoning_is_shown_to_clients_that_ask_for_it() -> None:
    """Messages clients that enable no thinking do not know its blocks."""
    blocks = whole(MESSAGES, FORMS["reasoning, then text"])["content"]
    assert blocks == [{"type": "text", "text": "Yes"}]
    kinds = [event["type"] for event in streamed(MESSAGES, FORMS["reasoning, then text"])]
    assert kinds.count("content_block_start") == 1


def test_a_broken_stream_says_so() -> None:
    """No event of an end that looks complete."""
    broken = b'data: {"error":{"message":"It broke off.","code":"upstream_cut"}}\n\n'
    message = streamed(MESSAGES, FORMS["text"], last=broken)
    assert message[-1]["error"] == {"type": "api_error", "message": "It broke off.", "code": "upstream_cut"}
    assert "message_stop" not in [event["type"] for event in message]
    response = streamed(RESPONSES, FORMS["text"], last=broken)
    assert (response[-1]["type"], response[-1]["response"]["status"]) == ("response.failed", "failed")
    assert response[-1]["response"]["error"] == {"code": "upstream_cut", "message": "It broke off."}
    assert "response.completed" not in [event["type"] for event in response]
