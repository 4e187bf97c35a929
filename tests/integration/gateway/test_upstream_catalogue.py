"""What clients see of an upstream that fails, lies or attacks: the real client and server, an upstream of raw bytes.

The numbers are those of the catalogue of faults.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.clients import answer_stream
from shared.clients.chat_client import HttpChatModel, connections
from shared.schemas.records import Outcome, Status
from tests.support import raw_upstream as raw
from tests.support.fakes.gateway import World, known, settings_for
from tests.support.served_gateway import BODY, Client, serving

KEY = "sk-or-v1-0123456789abcdef"
MIB = 1024 * 1024
MODEL = "a/small"
PINGS: list[bytes | float] = [b": PROCESSING\n\n", 0.05] * 20
LATE = raw.event(raw.chunk("late"))


@dataclass
class Attacked:
    """A gateway whose upstream a test scripts."""

    client: Client
    upstream: raw.RawUpstream
    world: World
    chats: int = 0

    async def ask(self, script: raw.Script, **more: object) -> tuple[int, str, Any]:
        """Ask one model by name while the upstream does `script`; return status, body and headers."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listing = self.upstream.seen[-1].line.startswith("GET ")
            await (raw.whole(b"{}") if listing else script)(reader, writer)

        self.upstream.script = play
        body = {**BODY, "model": MODEL, **more}
        async with self.client.post("/v1/chat/completions", json=body) as answer:
            return answer.status, await answer.text(), answer.headers

    @property
    def outcome(self) -> Outcome:
        """The last record's outcome."""
        return self.world.records[-1].outcome

    @property
    def chat_calls(self) -> int:
        """How often a model was asked."""
        return sum(request.line.startswith("POST ") for request in self.upstream.seen)


@pytest.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[Attacked]:
    world = World(settings_for(tmp_path / "spool", REQUEST_TIMEOUT_S=3))
    async with raw.raw_upstream() as upstream, connections(upstream.url) as http:
        world.upstream = HttpChatModel(  # type: ignore[assignment]  # the fake's place
            http, KEY, first_byte_timeout_s=0.3, gap_timeout_s=0.2
        )
        listed = {"data": [{"id": MODEL, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]}
        upstream.script = raw.whole(listed)
        async with serving(world) as client:
            yield Attacked(client, upstream, world)


def refused(status: str, **headers: str) -> raw.Script:
    words = f"overloaded, key {KEY} at http://internal.example/v1"
    return raw.whole({"error": {"message": words, "code": 1}}, status, **headers)


WHOLE_FAULTS: dict[str, tuple[raw.Script, int, str]] = {
    "19 429": (refused("429 Busy", retry_after="0.05"), 429, "upstream_rate_limited"),
    **{
        f"19 {status}": (refused(f"{status} No", retry_after="0.05"), 502, "upstream_error")
        for status in (408, 409, 425, 500, 502, 503, 529)
    },
    "19 401": (refused("401 No"), 502, "upstream_error"),
    **{f"19 {status}": (refused(f"{status} No"), status, "upstream_rejected") for status in (402, 403, 404)},
    "20 silence": (raw.silence(), 504, "upstream_timeout"),
    "22 html": (raw.whole(b"<html>busy</html>", kind="text/html"), 502, "upstream_error"),
    "22 empty": (raw.whole(b""), 502, "upstream_error"),
    "22 garbage": (raw.whole(b'{"choices": [{'), 502, "upstream_error"),
    "23 reset": (raw.hang_up(reset=True), 502, "upstream_error"),
    "75 redirect": (raw.whole(b"", "302 Found", location="http://169.254.169.254/"), 502, "upstream_error"),
    "76 bomb": (raw.whole(gzip.compress(b" " * (64 * MIB), 1), content_encoding="gzip"), 502, "upstream_error"),
    "79 error in 200": (raw.whole({"error": {"message": KEY, "code": 502}}), 502, "upstream_error"),
}
LIKE_STALE = {"19 408", "23 reset"}
"""What a server does to a kept connection that it has closed already."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", WHOLE_FAULTS)
async def test_a_fault_before_the_first_byte_is_reported(attacked: Attacked, fault: str, stream: bool) -> None:
    """The status says whose fault it is, in OpenAI's shape and without a secret; a model is called twice at most.

    What looks like a stale connection is sent again on a new one, and is no call that counts.
    """
    script, status, code = WHOLE_FAULTS[fault]
    got, text, _ = await attacked.ask(script, stream=stream)
    error = json.loads(text)["error"]
    assert (got, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert KEY not in text
    assert "internal.example" not in text
    assert len(attacked.outcome.attempts) <= 2
    assert attacked.chat_calls <= (4 if fault in LIKE_STALE else 2)
    assert attacked.outcome.status is Status.FAILED
    assert sum(attempt.spent for attempt in attacked.outcome.attempts) <= 2
    assert (await attacked.client.get("/health")).status == 200


BROKEN = {
    "20 comments": raw.streamed([LATE, *PINGS]),
    "20 silence between": raw.streamed([LATE], end="hang"),
    "21 chunked cut": raw.streamed([LATE], end="cut"),
    "21 reset": raw.streamed([LATE], end="reset"),
    "21 eof": raw.until_closed([LATE]),
    "21 mid-character": raw.until_closed([LATE, raw.event(raw.chunk("世"))[:80]]),
    "22 34 MiB line": raw.streamed([LATE, b"data: " + b"x" * (34 * MIB) + b"\n\n"]),
    "22 garbage": raw.streamed([LATE, b"data: {broken\n\n"]),
    "79 error event": raw.streamed([LATE, raw.event({"error": {"message": "fell over", "code": 502}})]),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_fault_after_the_first_byte_never_looks_like_an_end(attacked: Attacked, fault: str) -> None:
    """Events that came stay, then an error event without `[DONE]`; no other arm is called, and it counts as billed."""
    status, text, _ = await attacked.ask(BROKEN[fault], stream=True)
    frames = text.strip().split("\n\n")
    assert status == 200
    assert "late" in frames[0]
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] in {"upstream_cut", "upstream_timeout"}
    assert "[DONE]" not in text
    assert attacked.chat_calls == 1
    assert attacked.outcome.status is Status.TRUNCATED
    assert attacked.outcome.attempts[-1].spent


async def test_76_a_stream_without_end_is_cut_at_its_bound(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much comes, no more than a bound is passed on."""
    monkeypatch.setattr(answer_stream, "MAX_STREAM_BYTES", 1 * MIB)
    event = raw.event(raw.chunk("x" * 10_000))
    _, text, _ = await attacked.ask(raw.streamed([event] * 1000), stream=True)
    assert "upstream_cut" in text[-300:]
    assert len(text) < 2 * MIB


@pytest.mark.parametrize("name", ["a/small\r\nx-evil: 1", "x" * 10_000, "ü\x00"])
async def test_77_a_name_with_a_header_in_it_reaches_no_header(attacked: Attacked, name: str) -> None:
    """The headers name the model that was asked; what the upstream calls itself stays in its body."""
    status, _, headers = await attacked.ask(raw.whole(raw.WHOLE | {"model": name, "id": name}))
    assert (status, headers["x-router-model"]) == (200, MODEL)
    assert "x-evil" not in headers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "usage",
    [None, {"prompt_tokens": -5, "completion_tokens": 3}, {"prompt_tokens": 10**18, "completion_tokens": 1},
     {"prompt_tokens": 1, "completion_tokens": 1e18}, "lots"],
)  # fmt: skip
async def test_78_impossible_usage_is_counted_by_us(attacked: Attacked, usage: object, stream: bool) -> None:
    """The answer is good, its figures are not: the cost is our own count at list price, and says so."""
    body = {name: value for name, value in raw.WHOLE.items() if name != "usage"} | ({"usage": usage} if usage else {})
    last = raw.event(raw.chunk() | {"choices": [], "usage": usage})
    events = [*raw.good_events()[:-2], *([last] if usage else []), b"data: [DONE]\n\n"]
    status, text, _ = await attacked.ask(raw.streamed(events) if stream else raw.whole(body), stream=stream)
    assert (status, attacked.outcome.status) == (200, Status.ANSWERED)
    assert attacked.outcome.cost_source == "estimate"
    assert 0 < known(attacked.outcome.cost_usd) < 0.001
    assert not stream or text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("value", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_80_a_retry_after_of_years_is_a_minute(attacked: Attacked, value: str) -> None:
    """The client is told to come again in a minute, and the model rests no longer."""
    status, _, headers = await attacked.ask(refused("429 Busy", retry_after=value))
    assert (status, attacked.chat_calls) == (429, 1)
    assert int(headers["Retry-After"]) <= 60


async def test_81_bytes_after_the_end_reach_no_request(attacked: Attacked) -> None:
    """Late and repeated chunks change nothing: one `[DONE]`, and nothing behind it."""
    extra = [LATE, b"data: [DONE]\n\n", b"data: {broken\n\n"]
    _, text, _ = await attacked.ask(raw.streamed([*raw.good_events(), *extra]), stream=True)
    assert text.count("[DONE]") == 1
    assert text.endswith("data: [DONE]\n\n")
    assert "late" not in text
    assert attacked.outcome.status is Status.ANSWERED


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_23_a_stale_connection_costs_nothing(attacked: Attacked, stream: bool) -> None:
    """A used connection that closes without a byte: sent again on a new one, one attempt, nothing booked for it."""
    scripts = [raw.hang_up(reset=False), raw.streamed(raw.good_events()) if stream else raw.whole()]

    async def in_turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await scripts.pop(0)(reader, writer)

    status, _, _ = await attacked.ask(in_turn, stream=stream)
    assert (status, attacked.chat_calls) == (200, 2)
    (attempt,) = attacked.outcome.attempts
    assert (attempt.error, attempt.cost_usd) == (None, 0.0)
