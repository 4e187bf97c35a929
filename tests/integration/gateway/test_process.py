"""The gateway as a process: real Redis, real HTTP upstream (simulated), signals and crashes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis

from deploy.local.servers import Server, free_port, redis_command, running
from shared.storage import redis_keys
from tests.support.gateway_process import BODY, MODELS, eventually, stored


async def test_it_starts_and_answers_with_everything_but_the_upstream_down(gateways: Any) -> None:
    """No Redis, no Qdrant, no embedder: chat answers, visibly degraded, and the process ends cleanly."""
    gateway = await gateways()
    async with aiohttp.ClientSession(gateway.url) as client:
        async with client.post("/v1/chat/completions", json=BODY) as response:
            assert response.status == 200
            assert response.headers["x-router-degraded"] == "embedder,redis"
            assert (await response.json())["choices"]
        async with client.get("/health") as response:
            assert (await response.json())["status"] == "degraded"
    assert await asyncio.to_thread(gateway.server.stop) == 0


async def test_a_gateway_that_comes_back_opens_with_what_was_learned(gateways: Any, redis_url: str) -> None:
    """Requests before readiness are not sent to DEFAULT_MODEL, which may be expensive and is not in `/arms`."""
    gateway = await gateways(REDIS_URL=redis_url, DEFAULT_MODEL="anthropic/claude-3.5-sonnet")
    await asyncio.to_thread(gateway.server.kill)
    gateway.server.start()
    async with aiohttp.ClientSession(gateway.url) as client:
        while True:
            try:
                async with client.post("/v1/chat/completions", json=BODY) as response:
                    assert response.status == 200
                    assert response.headers["x-router-decision"] in ("global", "local")
                    assert response.headers["x-router-model"] in MODELS
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.001)
        async with client.get("/ready") as response:
            assert response.status == 200


async def test_a_record_survives_redis_away_and_kill_9_of_the_gateway(gateways: Any, tmp_path: Path) -> None:
    """Answered while Redis was away, then killed: the next gateway stores it, exactly once."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    first = await gateways(REDIS_URL=url)
    async with aiohttp.ClientSession(first.url) as client:
        for number in range(5):
            async with client.post("/v1/chat/completions", json=BODY, headers={"X-Request-ID": f"r{number}"}) as answer:
                assert answer.status == 200
    await asyncio.to_thread(first.server.kill)
    with running(Server("redis", redis_command(port, tmp_path / "redis"), tmp_path / "redis.log"), port):
        second = await gateways(REDIS_URL=url)
        records = await eventually(url, 5)
        assert sorted(record["public_id"] for record in records) == [f"r{number}" for number in range(5)]
        async with aioredis.Redis.from_url(url) as redis:
            assert await redis.xlen(redis_keys.EVENTS) == 5
        assert await asyncio.to_thread(second.server.stop) == 0
    assert not list((tmp_path / "spool").glob("*.spool"))


async def test_a_frozen_redis_costs_its_deadline_a_few_times_and_no_record(gateways: Any, tmp_path: Path) -> None:
    """Redis stopped in its tracks: chat goes on at nearly its usual speed, and all is stored when it wakes."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with running(Server("redis", redis_command(port, tmp_path / "redis"), tmp_path / "redis.log"), port) as redis:
        gateway = await gateways(REDIS_URL=url)
        overheads = []
        async with aiohttp.ClientSession(gateway.url) as client:
            redis.signal(signal.SIGSTOP)
            for _ in range(12):
                async with client.post("/v1/chat/completions", json=BODY) as response:
                    assert response.status == 200
                    assert "redis" in response.headers["x-router-degraded"]
                    overheads.append(float(response.headers["x-router-overhead-ms"]))
            redis.signal(signal.SIGCONT)
        assert sorted(overheads)[5] < 50, overheads  # REDIS_TIMEOUT_MS is 100
        assert len(await eventually(url, 12)) == 12


async def test_sent_is_recorded_though_redis_is_killed_under_load(gateways: Any, tmp_path: Path) -> None:
    """Redis killed and restarted while requests run: every answer has its record and its event, once."""
    port, folder = free_port(), tmp_path / "redis"
    url = f"redis://127.0.0.1:{port}/0"
    redis = Server("redis", redis_command(port, folder), tmp_path / "redis.log")
    with running(redis, port):
        gateway = await gateways(REDIS_URL=url)
        sent: list[str] = []

        async def client(name: int, session: aiohttp.ClientSession) -> None:
            for number in range(15):
                headers = {"X-Request-ID": f"c{name}-{number}"}
                async with session.post("/v1/chat/completions", json=BODY, headers=headers) as response:
                    assert response.status == 200
                    sent.append(headers["X-Request-ID"])

        async with aiohttp.ClientSession(gateway.url) as session, asyncio.TaskGroup() as group:
            for name in range(10):
                group.create_task(client(name, session))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(0.5)
            redis.start()
        await asyncio.to_thread(redis.wait_for_port, port)
        records = await eventually(url, len(sent))
        assert sorted(record["public_id"] for record in records) == sorted(sent)
        async with aioredis.Redis.from_url(url) as client_of_redis:
            assert await client_of_redis.xlen(redis_keys.EVENTS) == len(sent)


async def test_sigterm_lets_an_open_stream_finish(gateways: Any, redis_url: str) -> None:
    """Draining: not ready, no cut answer, its record stored, exit code 0."""
    gateway = await gateways(REDIS_URL=redis_url, DRAIN_DELAY_S="0.5")
    headers = {"x-simulate": "slow-first-token;seconds=1.5"}
    async with aiohttp.ClientSession(gateway.url) as client, aiohttp.ClientSession(gateway.url) as other:
        call = asyncio.create_task(
            client.post("/v1/chat/completions", json={**BODY, "stream": True}, headers=headers).__aenter__()
        )
        await asyncio.sleep(0.3)
        gateway.server.signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        async with other.get("/ready") as response:
            assert response.status == 503
            assert (await response.json())["reason"] == "draining"
        text = await (await call).text()
        assert text.endswith("data: [DONE]\n\n")
    assert await asyncio.to_thread(gateway.server.stop) == 0
    assert [record["outcome"]["status"] for record in await stored(redis_url)] == ["answered"]


async def test_a_disconnect_is_recorded_as_cancelled_within_a_second(gateways: Any, redis_url: str) -> None:
    """Both waiting and streaming clients stop the bill by leaving."""
    gateway = await gateways(REDIS_URL=redis_url)
    for number, (stream, fault) in enumerate(((False, "hang"), (True, "stall;seconds=30")), start=1):
        async with aiohttp.ClientSession(gateway.url) as client:
            body = {**BODY, "stream": stream}
            call = asyncio.create_task(ask_for_ever(client, body, fault))
            await asyncio.sleep(0.5)
            call.cancel()
        records = await eventually(redis_url, number)
        assert [record["outcome"]["status"] for record in records] == ["cancelled"] * number


async def ask_for_ever(client: aiohttp.ClientSession, body: object, fault: str) -> None:
    async with client.post("/v1/chat/completions", json=body, headers={"x-simulate": fault}) as response:
        await response.read()


async def test_faults_of_one_arm_are_answered_by_the_other(gateways: Any, redis_url: str) -> None:
    """Whatever one upstream model does before its first byte, the client gets an answer and the record the truth."""
    gateway = await gateways(REDIS_URL=redis_url)
    faults = ("status-500", "status-429", "garbage", "html", "empty", "error-200", "reset")
    async with aiohttp.ClientSession(gateway.url) as client:
        for fault in faults:
            for arm in MODELS:  # whichever is chosen, one of the two requests meets the fault first or not at all
                headers = {"x-simulate": f"{fault};model={arm}"}
                async with client.post("/v1/chat/completions", json=BODY, headers=headers) as response:
                    assert response.status == 200, fault
                    assert response.headers["x-router-model"] != arm
    records = await eventually(redis_url, 2 * len(faults))
    assert len(records) == 2 * len(faults)
    assert {record["outcome"]["status"] for record in records} == {"answered"}
    fallbacks = [record for record in records if record["decision"]["kind"] == "fallback"]
    for record in fallbacks:
        attempts, chosen = record["outcome"]["attempts"], record["decision"]["ranked"][0]
        # It was asked and failed, or it rested: by the end both models have failed so often that both do.
        assert (
            attempts[0]["error"] if attempts[0]["arm"] == chosen else chosen not in {each["arm"] for each in attempts}
        )


@pytest.mark.parametrize("fault", ["cut", "cut-clean"])
async def test_a_cut_stream_never_looks_complete(gateways: Any, redis_url: str, fault: str) -> None:
    """An aborted or quietly ended upstream stream is an error event, no [DONE], and status truncated."""
    gateway = await gateways(REDIS_URL=redis_url)
    async with (
        aiohttp.ClientSession(gateway.url) as client,
        client.post("/v1/chat/completions", json={**BODY, "stream": True}, headers={"x-simulate": fault}) as response,
    ):
        text = await response.text()
    assert "[DONE]" not in text
    assert json.loads(text.strip().split("data: ")[-1])["error"]["type"] == "upstream_error"
    (record,) = await eventually(redis_url, 1)
    assert record["outcome"]["status"] == "truncated"


async def test_check_config_shows_settings_and_no_secret(tmp_path: Path) -> None:
    """Exit 0 with every setting; 2 and one clear message without the key that openrouter.ai needs."""

    async def run(**environment: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", "--check-config",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    code, out, err = await run(OPENROUTER_API_KEY="sk-or-secret", API_KEYS="k1-secret", EXPLORATION_RATE="0.3")
    assert (code, err) == (0, "")
    assert "EXPLORATION_RATE=0.3" in out.splitlines()
    assert "secret" not in out
    code, out, err = await run(OPENROUTER_API_KEY="sk-or-secret", HOST="0.0.0.0", PORT="8123")
    assert code == 0
    assert err.startswith("WARNING: API_KEYS is empty: anybody who can reach 0.0.0.0:8123 ")
    code, _, err = await run()
    assert code == 2
    assert "OPENROUTER_API_KEY is required" in err
    code, _, err = await run(PORT="99999")
    assert code == 2
    assert "PORT" in err


async def test_one_line_a_request_without_prompt_or_key(gateways: Any, redis_url: str) -> None:
    """The log has model, time and cost, and not a word of the conversation."""
    gateway = await gateways(REDIS_URL=redis_url, API_KEYS="key-that-must-not-show")
    headers = {"Authorization": "Bearer key-that-must-not-show", "X-Request-ID": "mine"}
    async with (
        aiohttp.ClientSession(gateway.url, headers=headers) as client,
        client.post("/chat/completions", json=BODY) as response,
    ):
        answer = (await response.json())["choices"][0]["message"]["content"]
    assert await asyncio.to_thread(gateway.server.stop) == 0
    text = gateway.log.read_text()
    (line,) = [line for line in gateway.lines() if line.get("public_id") == "mine"]
    assert line["event"] == "request"
    assert line["model"] in MODELS
    assert {"overhead_ms", "upstream_ms", "cost_usd", "propensity", "outcome"} <= line.keys()
    for secret in ("key-that-must-not-show", "capital of Peru", answer):
        assert secret not in text


async def test_a_gateway_without_keys_says_so_at_its_start(gateways: Any) -> None:
    """Loudly, once; with keys there is nothing to say."""
    said = {}
    for name, keys in (("open", {}), ("closed", {"API_KEYS": "k"})):
        gateway = await gateways(**keys)
        assert await asyncio.to_thread(gateway.server.stop) == 0
        said[name] = [line for line in gateway.lines() if "API_KEYS" in line["event"]]
        gateway.log.unlink()
    assert [line["level"] for line in said["open"]] == ["warning"]
    assert said["closed"] == []


async def test_requests_do_not_make_the_garbage_collector_look_all_the_time(gateways: Any) -> None:
    """Each look is a pause for every open stream; a request alone is no reason for one."""
    gateway = await gateways()
    async with aiohttp.ClientSession(gateway.url) as client:

        async def looks() -> float:
            async with client.get("/metrics") as response:
                lines = (await response.text()).splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith("python_gc_collections_total"))

        before = await looks()
        for _ in range(50):
            async with client.post("/v1/chat/completions", json=BODY) as response:
                await response.read()
        assert await looks() - before < 10
