"""Overload, over HTTP: requests are refused early, in the documented form."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from shared.fast_path.protocol import HALF_CLOSE_S
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, ask, serving

USERS = {"API_KEYS": "greedy-key,modest-key"}


async def timed(client: Client, **headers: str) -> tuple[int, str, float, str | None]:
    """Return status, code, seconds, Retry-After."""
    started = time.perf_counter()
    status, content, told = await ask(client, "/v1/chat/completions", BODY, **headers)
    code = content["error"]["code"] if status >= 400 else ""
    return status, code, time.perf_counter() - started, told.get("Retry-After")


async def test_beyond_the_limit_it_says_503_soon_and_serves_again(tmp_path: Path) -> None:
    """Those inside are answered, those outside get 503 with Retry-After, health is never refused."""
    world = World(settings_for(tmp_path, MAX_CONCURRENT_REQUESTS=4))
    world.upstream.default = Reply(delay_s=0.6)
    async with serving(world) as client:
        inside = [asyncio.create_task(timed(client)) for _ in range(4)]
        await asyncio.sleep(0.2)
        outside = []
        for _ in range(20):
            outside += await asyncio.gather(*(timed(client) for _ in range(2)))
            if all(task.done() for task in inside):
                break
            assert (await ask(client, "/ready"))[0] == 200
        refused = [answer for answer in outside if answer[0] != 200]
        assert refused
        assert {(status, code, bool(retry)) for status, code, _, retry in refused} == {(503, "overloaded", True)}
        assert min(seconds for _, _, seconds, _ in refused) < 0.02
        assert {status for status, *_ in await asyncio.gather(*inside)} == {200}
        world.upstream.default = Reply()
        assert (await timed(client))[0] == 200
        metrics = (await ask(client, "/metrics"))[1]
        assert f'llm_router_refused_requests_total{{limit="overloaded"}} {len(refused)}.0' in metrics


async def test_a_key_that_takes_its_places_leaves_the_others_theirs(tmp_path: Path) -> None:
    """With several keys each has half by default: 429 for the greedy one, an answer for the other (row 52)."""
    world = World(settings_for(tmp_path, MAX_CONCURRENT_REQUESTS=8, **USERS))
    world.upstream.default = Reply(delay_s=0.4)
    async with serving(world) as client:
        greedy = [asyncio.create_task(timed(client, Authorization="Bearer greedy-key")) for _ in range(30)]
        await asyncio.sleep(0.15)
        assert (await timed(client, Authorization="Bearer modest-key"))[0] == 200
        answers = await asyncio.gather(*greedy)
    assert [status for status, *_ in answers].count(200) == 4
    refused = {answer[:2] for answer in answers if answer[0] != 200}
    assert refused == {(429, "too_many_concurrent_requests")}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_place_is_free_again_whatever_ends_a_request(tmp_path: Path, stream: bool) -> None:
    """Answered, failed, refused as malformed, or left by its client: afterwards every place can be taken."""
    world = World(settings_for(tmp_path, MAX_CONCURRENT_REQUESTS=1))
    body = {**BODY, "stream": stream}
    async with serving(world) as client:
        assert (await ask(client, "/v1/chat/completions", body))[0] == 200
        assert (await ask(client, "/v1/chat/completions", {"messages": []}))[0] == 400
        assert (await ask(client, "/v1/chat/completions", {**body, "model": "no/body"}))[0] == 404
        world.upstream.default = Reply(delay_s=5)
        leaving = asyncio.create_task(ask(client, "/v1/chat/completions", body))
        await asyncio.sleep(0.2)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(HALF_CLOSE_S + 0.2)
        world.upstream.default = Reply()
        assert (await ask(client, "/v1/chat/completions", body))[0] == 200
