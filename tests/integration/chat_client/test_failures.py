"""Failures of the upstream: their effect on the next arm, the bill and the caller."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from deploy.local.servers import free_port
from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import Scope
from tests.integration.chat_client.calls import KEY, both, error, failure
from tests.support import raw_upstream as raw


@both
@pytest.mark.parametrize(
    ("status", "try_next", "cools"),
    [(408, True, True), (425, True, True), (429, True, True), (500, True, True), (502, True, True), (503, True, True),
     (529, True, True), (401, True, False), (402, True, False), (403, True, False), (404, True, True),
     (410, True, True), (400, False, False), (413, True, False), (422, False, False), (302, False, True)],
)  # fmt: skip
async def test_a_status_says_what_to_do(
    upstream: raw.RawUpstream, model: HttpChatModel, *, status: int, try_next: bool, cools: bool, streaming: bool
) -> None:
    """A refusal before any byte costs nothing; the scope of the failure decides which arms may answer instead."""
    upstream.script = raw.whole(error("no", status), f"{status} No", location="http://127.0.0.1:9/elsewhere")
    refused = await failure(model, streaming=streaming)
    assert (refused.status, refused.try_next, refused.spent) == (status, try_next, False)
    assert (refused.cool_s > 0) is cools
    assert (refused.relay is not None) is (status in (400, 402, 403, 404, 410, 413, 422))
    assert len(upstream.seen) == 1, "redirects are not followed, and nothing is tried twice here"


@both
@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b'{"choices": [', "not JSON"),
        (b"", "not JSON|an empty stream"),
        (b"<html>busy</html>", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": [{}]}', "without a message"),
        (b'{"choices": [{"message": null}, null, {}]}', "without a message"),
        (json.dumps(error("provider fell over", "odd")).encode(), "200 with an error"),
        (json.dumps({**raw.WHOLE, "error": "flagged"}).encode(), "200 with an error"),
    ],
)
async def test_a_200_that_is_no_answer_is_a_paid_failure(
    upstream: raw.RawUpstream, model: HttpChatModel, answer: bytes, word: str, streaming: bool
) -> None:
    """Garbage, emptiness and an error under 200 are failures, may have been billed, and another arm may try."""
    upstream.script = raw.whole(answer, kind="text/html" if answer.startswith(b"<") else "application/json")
    refused = await failure(model, streaming=streaming)
    assert re.search(word, str(refused))
    assert (refused.status, refused.try_next, refused.spent, refused.relay) == (200, True, True, None)


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
async def test_no_connection_costs_nothing(host: str, streaming: bool) -> None:
    """Refused, or an unknown name: the next arm may be called, and nothing was billed."""
    url = f"http://{host}:{free_port()}"
    async with connections(url) as http:
        away = HttpChatModel(http, KEY, first_byte_timeout_s=1, gap_timeout_s=1)
        refused = await failure(away, streaming=streaming)
    assert (refused.status, refused.try_next, refused.spent, refused.timed_out) == (None, True, False, False)
    assert url not in str(refused)


@both
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_lost_after_the_question_may_have_been_paid(
    upstream: raw.RawUpstream, model: HttpChatModel, reset: bool, streaming: bool
) -> None:
    """Asked and then disconnected is ambiguous: it counts as spent, and is not repeated here."""
    upstream.script = raw.hang_up(reset=reset)
    refused = await failure(model, streaming=streaming)
    assert (refused.status, refused.spent, refused.timed_out) == (None, True, False)
    assert len(upstream.seen) == 1


async def test_silence_ends_at_the_first_byte_deadline(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """A stream of which nothing comes is given up, counted as spent, and its connection is closed."""
    upstream.script = raw.silence()
    started = time.monotonic()
    refused = await failure(model, streaming=True)
    assert (refused.timed_out, refused.spent) == (True, True)
    assert 0.4 < time.monotonic() - started < 1.5
    await asyncio.wait_for(upstream.closed.wait(), 1)


@both
async def test_the_deadline_of_the_request_rules(upstream: raw.RawUpstream, streaming: bool) -> None:
    """No wait outlives the request's own deadline."""
    upstream.script = raw.silence()
    async with connections(upstream.url) as http:
        patient = HttpChatModel(http, KEY, first_byte_timeout_s=60, gap_timeout_s=60)
        started = time.monotonic()
        assert (await failure(patient, streaming=streaming, deadline_s=0.1)).timed_out
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("999999999", 60, 60), ("-5", 0, 0), ("inf", 0.1, 10), ("soon", 0.1, 10), ("nan", 0.1, 10),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 60, 60), ("in-20-seconds", 15, 21)],
)  # fmt: skip
async def test_retry_after_is_believed_for_a_minute_at_most(
    upstream: raw.RawUpstream, model: HttpChatModel, value: str, low: float, high: float
) -> None:
    """Seconds, a date or nonsense: an arm cools down for at most a minute."""
    if value == "in-20-seconds":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    upstream.script = raw.whole(error("busy", 429), "429 Busy", retry_after=value)
    assert low <= (await failure(model, streaming=False)).cool_s <= high


async def test_a_relayed_refusal_holds_no_secret(
    upstream: raw.RawUpstream, model: HttpChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    """The upstream's words reach the client in OpenAI's shape, without our key or anybody's address."""
    words = f"bad key {KEY} at https://internal.example/v1, Authorization: Bearer {KEY}, temperature is too hot"
    upstream.script = raw.whole(error(words, "invalid_value", param="temperature"), "400 Bad Request")
    with caplog.at_level(logging.DEBUG):
        refused = await failure(model, streaming=False)
    assert refused.relay is not None
    told = json.loads(refused.relay)["error"]
    assert told["type"] == "invalid_request_error"
    assert (told["code"], told["param"]) == ("invalid_value", "temperature")
    assert "temperature is too hot" in told["message"]
    for text in (refused.relay.decode(), str(refused), caplog.text):
        assert KEY not in text
        assert "internal.example" not in text


async def test_a_key_that_looks_like_none_is_masked_too(upstream: raw.RawUpstream) -> None:
    """A local server's key may be any word."""
    upstream.script = raw.whole(error("no tulips+and~trees here"), "400 Bad Request")
    async with connections(upstream.url) as http:
        model = HttpChatModel(http, "tulips+and~trees", first_byte_timeout_s=1, gap_timeout_s=1)
        refused = await failure(model, streaming=False)
    assert b"tulips" not in (refused.relay or b"tulips")
    assert "tulips" not in (refused.reason or "")


@pytest.mark.parametrize("message", ["This model's maximum context length is 8192 tokens", "prompt is too long: 9 > 8"])
async def test_too_long_for_one_model_may_fit_another(
    upstream: raw.RawUpstream, model: HttpChatModel, message: str
) -> None:
    """A full context is the model's limit: the next arm is called, and the client gets the reason if none can."""
    upstream.script = raw.whole(error(message), "400 Bad Request")
    refused = await failure(model, streaming=False)
    assert (refused.try_next, refused.cool_s) == (True, 0)
    assert refused.relay is not None


async def test_moderation_by_one_model_is_not_our_keys_fault(upstream: raw.RawUpstream, model: HttpChatModel) -> None:
    """OpenRouter's 403 with reasons concerns this prompt and this model: the next one may answer, no arm cools down."""
    upstream.script = raw.whole(error("flagged", 403, metadata={"reasons": ["violence"]}), "403 Forbidden")
    refused = await failure(model, streaming=False)
    assert (refused.try_next, refused.cool_s, refused.scope, refused.reason) == (True, 0, Scope.FIT, "flagged")
