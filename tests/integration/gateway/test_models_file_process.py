"""MODELS_FILE of a gateway process: the check before a start, and SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from shared.models_file.watch import EVERY_S
from tests.support.gateway_process import BODY, MODELS


async def test_check_config_shows_the_models_file_and_its_mistakes(tmp_path: Path) -> None:
    """Keys are masked; a variable that is not set stops the start."""
    path = tmp_path / "models.yaml"
    path.write_text("upstreams: {own: {base_url: http://own/v1, api_key: ${OWN_KEY}}}", encoding="utf-8")

    async def check(**environment: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", "--check-config", stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={"MODELS_FILE": str(path), "API_KEYS": "k1", **environment},
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    code, out = await check(OWN_KEY="sk-own-secret")
    assert (code, "upstreams.own.api_key=********" in out.splitlines(), "secret" in out) == (0, True, False)
    code, out = await check()
    assert (code, "line 1: upstreams.own.api_key: the variable OWN_KEY is not set" in out) == (2, True)


async def test_sighup_reads_the_models_file_again(gateways: Any, upstream: str, tmp_path: Path) -> None:
    """Whether or not it looks changed: here neither its size nor its time does."""
    path, head = (
        tmp_path / "models.yaml",
        f"upstreams: {{own: {{base_url: {upstream}}}}}\nmodels: [{{id: first, model: ",
    )
    old, new = (f"{head}{model}}}]".ljust(len(head) + 40) for model in reversed(MODELS))
    path.write_text(old, encoding="utf-8")
    gateway = await gateways(MODELS_FILE=str(path), LLM_MODELS="")
    async with aiohttp.ClientSession(gateway.url) as client:

        async def answering() -> str:
            async with client.post("/v1/chat/completions", json={**BODY, "model": "first"}) as answer:
                return str((await answer.json())["model"])

        await asyncio.sleep(2 * EVERY_S)  # the file as it was at the start has been read
        times = path.stat()
        path.write_text(new, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        await asyncio.sleep(2 * EVERY_S)
        assert await answering() == MODELS[1]
        gateway.server.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(2 * EVERY_S)
        assert await answering() == MODELS[0]
    assert gateway.server.process.poll() is None
