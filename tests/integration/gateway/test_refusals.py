"""Responses to clients where the upstream refuses: real client and server, an upstream of raw bytes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.gateway.chat import fallback
from shared.clients.chat_client import HttpChatModel, connections
from shared.schemas.records import Status
from tests.support import raw_upstream as raw
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, serving

KEY = "local/key+that~looks=like_none"
ONE, OTHER = "a/small", "b/middle"
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@dataclass
class Refusing:
    """A gateway of two models whose upstream a test scripts, by model."""

    client: Client
    world: World
    scripts: dict[str, raw.Script] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def ask(self, **fields: object) -> tuple[int, str, Any]:
        async with self.client.post("/v1/chat/completions", json={**BODY, **fields}) as answer:
            return answer.status, await answer.text(), answer.headers

    async def message(self, **fields: object) -> tuple[int, str]:
        status, text, _ = await self.ask(**fields)
        return status, json.loads(text)["error"]["message"]


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[Refusing]:
    world = World(settings_for(tmp_path / "spool", LLM_MODELS=f"{ONE},{OTHER}", DEFAULT_MODEL=ONE))
    async with raw.raw_upstream() as upstream:
        url = upstream.url.replace("http://", "http://name:pass-word@")
        async with connections(url) as http:
            world.upstream = HttpChatModel(  # type: ignore[assignment]  # the fake's place
                http, KEY, first_byte_timeout_s=2, gap_timeout_s=2
            )
            upstream.script = raw.whole({"data": [{"id": name} for name in (ONE, OTHER)]})
            async with serving(world) as client:
                here = Refusing(client, world)
                upstream.script = _by_model(here, upstream)
                yield here


def _by_model(here: Refusing, upstream: raw.RawUpstream) -> raw.Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body: Any = upstream.seen[-1].json
        here.asked.append(body["model"])
        answer = raw.streamed(raw.good_events()) if body.get("stream") else raw.whole()
        await here.scripts.get(body["model"], answer)(reader, writer)

    return script


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


# -- a client that names a model gets its provider's reason ---------------------------------------------------------

Shape = Callable[[str], raw.Script]
SHAPES: dict[str, Shape] = {
    "OpenAI": lambda status: raw.whole(error("REASON"), status),
    "OpenRouter": lambda status: raw.whole(error("x", metadata={"raw": json.dumps(error("REASON"))}), status),
    "FastAPI": lambda status: raw.whole({"detail": [{"loc": ["body"], "msg": "REASON"}]}, status),
    "vLLM": lambda status: raw.whole({"object": "error", "message": "REASON"}, status),
    "Google": lambda status: raw.whole([error("REASON")], status),
    "text": lambda status: raw.whole(b"REASON", status, kind="text/plain"),
    "gzip": lambda status: raw.whole(gzip.compress(json.dumps(error("REASON")).encode()), status,
                                     content_encoding="gzip"),
    "under 200": lambda status: raw.whole(error("REASON", code=int(status[:3]))),
    "under 200, in digits": lambda status: raw.whole(error("REASON", code=status[:3])),
    "under 200, vLLM": lambda status: raw.whole({"object": "error", "message": "REASON", "code": int(status[:3])}),
    "under 200, an array": lambda status: raw.whole([error("REASON", code=int(status[:3]))]),
    "under 200, status": lambda status: raw.whole({"detail": "REASON", "status": int(status[:3])}),
    "first event": lambda status: raw.streamed([b": hm\n\n", raw.event(error("REASON", code=int(status[:3])))]),
    "first event, in a choice": lambda status: raw.streamed([raw.event(
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", **error("REASON", code=int(status[:3]))}]})]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "stream"),
    [(shape, stream) for shape in SHAPES for stream in (False, True) if stream or "event" not in shape],
)
@pytest.mark.parametrize(
    ("status", "told"),
    [("400 X", 400), ("402 X", 402), ("403 X", 403), ("404 X", 404), ("413 X", 413), ("422 X", 422), ("429 X", 429),
     ("500 X", 502), ("503 X", 502), ("401 X", 502)],
)  # fmt: skip
async def test_a_client_that_names_a_model_gets_its_providers_reason(
    refusing: Refusing, shape: str, status: str, told: int, *, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status and reason, whatever the shape; a 5xx is a bad gateway, and so is a refusal of our own key."""
    refusing.scripts[ONE] = SHAPES[shape](status)
    if shape != "OpenAI":  # after a 5xx the model would be called again, seconds later
        monkeypatch.setattr(fallback, "MAX_PAUSE_S", 0.0)
    for fields in ({"model": ONE}, {"models": [ONE]}):
        got, message = await refusing.message(**fields, stream=stream)
        assert (got, "REASON" in message) == (told, True)
        assert ("not yours" in message) is (status == "401 X"), "a client must not look for the fault in its own key"
    outcome = refusing.world.records[-1].outcome
    assert outcome.status is Status.FAILED
    if told != 502:
        assert [attempt.spent for attempt in outcome.attempts] == [False], "a refusal is not paid"


async def test_a_rate_limit_says_when_to_come_again(refusing: Refusing) -> None:
    """429 with `Retry-After`, also where it came under 200."""
    busy = error("slow down", code=429, metadata={"headers": {"retry-after-ms": "41000"}})
    for script in (raw.whole(error("slow down"), "429 X", retry_after="41"), raw.whole(busy), raw.whole(busy, "429 X")):
        refusing.scripts[ONE] = script
        status, text, headers = await refusing.ask(model=ONE)
        assert (status, headers["Retry-After"]) == (429, "41")
        assert "slow down" in text


@pytest.mark.parametrize("status", ["400 X", "401 X", "402 X", "403 X", "404 X", "429 X", "500 X", "200 OK"])
async def test_no_secret_of_ours_reaches_a_client(refusing: Refusing, status: str) -> None:
    """Our key, and the credentials of our base URL, plain or encoded, wherever an upstream puts them."""
    leak = f"bad {KEY} {KEY.replace('/', '%2F').replace('+', '%2B')} pass-word bmFtZTpwYXNzLXdvcmQ= http://in.side/x?k={KEY}"
    refusing.scripts[ONE] = raw.whole(error(leak, code=KEY, param=KEY, metadata={"raw": leak}), status)
    for stream in (False, True):
        _, text, _ = await refusing.ask(model=ONE, stream=stream)
        secrets = (KEY, "looks=like", "looks%3Dlike", "pass-word", "bmFtZTp", "in.side")
        assert [secret for secret in secrets if secret in text] == []


async def test_a_stream_that_breaks_off_tells_the_reason(refusing: Refusing) -> None:
    """After the first byte no other arm is called, but the reason of the end is reported."""
    refusing.scripts[ONE] = raw.streamed([raw.event(raw.chunk("one")), raw.event(error("overloaded", code=503))])
    status, text, _ = await refusing.ask(model=ONE, stream=True)
    assert status == 200
    assert "overloaded" in text.strip().split("\n\n")[-1]
    assert "[DONE]" not in text


# -- who does not, hears another model -------------------------------------------------------------

UNFIT = {
    "tools": raw.whole(error("No endpoints found that support tool use."), "404 X"),
    "parameter": raw.whole(error("response_format is not supported with this model"), "400 X"),
    "tool ids": raw.whole({"object": "error", "message": "Tool call id was call_1 but must be a-z"}, "400 X"),
    "too long": raw.whole(error("the request exceeds the available context size, try increasing it"), "400 X"),
    "too large": raw.whole(b"", "413 X"),
    "moderated": raw.whole(error("flagged", metadata={"reasons": ["hate"], "provider_name": "x"}), "403 X"),
    "under 200": raw.whole(error("unsupported parameter", code=400)),
    "no such field": raw.whole({"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]}, "422 X"),
}


@both
@pytest.mark.parametrize("kind", UNFIT)
async def test_what_one_model_cannot_another_may(refusing: Refusing, kind: str, stream: bool) -> None:
    """All are answered, and the one that refused is as good as before for everybody else."""
    refusing.scripts[ONE] = UNFIT[kind]
    for _ in range(12):
        status, text, headers = await refusing.ask(stream=stream)
        assert (status, headers["x-router-model"]) == (200, OTHER), text
    assert ONE in refusing.asked, "or this says nothing"
    report = json.loads(await (await refusing.client.get("/health")).text())
    assert report["arms"][ONE] == {**report["arms"][ONE], "circuit": "closed", "rests_s": 0.0}
    failed = [attempt for record in refusing.world.records for attempt in record.outcome.attempts if attempt.error]
    assert failed
    assert not [attempt for attempt in failed if attempt.blames_arm or attempt.spent]


@pytest.mark.parametrize("kind", UNFIT)
async def test_where_no_model_can_the_client_gets_the_reason(refusing: Refusing, kind: str) -> None:
    """The last one's reason with its status, and not that no model could answer."""
    refusing.scripts = {ONE: UNFIT[kind], OTHER: UNFIT[kind]}
    status, message = await refusing.message()
    assert status in (400, 403, 404, 413, 422)
    assert "No model could answer" not in message
    assert sorted(refusing.asked) == [ONE, OTHER]


async def test_a_failure_that_may_pass_goes_before_a_refusal(refusing: Refusing) -> None:
    """One model cannot, the other is down: trying again may help, so a 502 it is."""
    for first, second in ((ONE, OTHER), (OTHER, ONE)):
        refusing.scripts = {first: UNFIT["tools"], second: raw.whole(error("down"), "503 X")}
        assert (await refusing.message())[0] == 502


async def test_a_malformed_request_is_sent_to_one_model(refusing: Refusing) -> None:
    """Every model would refuse it: the client gets the reason, and no other model is called."""
    malformed = raw.whole(error("messages: nothing to read here"), "400 X")
    refusing.scripts = {ONE: malformed, OTHER: malformed}
    for _ in range(3):
        assert await refusing.message() == (400, "messages: nothing to read here")
    assert len(refusing.asked) == 3


async def test_a_malformed_request_is_reported_although_another_model_is_down(refusing: Refusing) -> None:
    """It would not be answered later either."""
    refusing.scripts = {name: raw.whole(error("down"), "503 X") for name in (ONE, OTHER)}
    await refusing.message()
    malformed = raw.whole(error("messages: nothing to read here"), "400 X")
    for first, second in ((ONE, OTHER), (OTHER, ONE)):
        refusing.scripts = {first: raw.whole(error("down"), "503 X"), second: malformed}
        assert (await refusing.message())[0] == 400


async def test_a_providers_own_key_harms_no_other_model(refusing: Refusing) -> None:
    """401 and 402 of one provider: its model cools down, the other answers."""
    for status in ("401 X", "402 X", "403 X"):
        refusing.scripts[ONE] = raw.whole(
            error("bad key", metadata={"provider_name": "Azure", "is_byok": True}), status
        )
        for _ in range(4):
            assert (await refusing.ask())[0] == 200
            assert (await refusing.ask(model=OTHER))[0] == 200
            assert (await refusing.ask(model=ONE))[0] == (502 if status == "401 X" else int(status[:3]))
