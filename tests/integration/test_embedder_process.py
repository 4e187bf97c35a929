"""The embedder as a process: it starts, refuses to start, and stops, as it says."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import aiohttp
import pytest

from deploy.local.servers import Server, free_port
from services.embedder.encoder import STATIC
from tests.support.embedder_rig import MODEL_CACHE, real_encoder


def environment(port: int, **more: str) -> dict[str, str]:
    return {
        "EMBEDDER_HOST": "127.0.0.1",
        "EMBEDDER_PORT": str(port),
        "MODEL_CACHE_DIR": str(MODEL_CACHE),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        **more,
    }


async def test_sigterm_under_load_ends_cleanly(tmp_path: Path) -> None:
    """No caller gets an error, the process exits with 0, and no text is in its log."""
    real_encoder(STATIC)  # distilled now if never before
    port = free_port()
    outcomes: list[int] = []
    server = Server("embedder", [sys.executable, "-m", "services.embedder"], tmp_path / "log", environment(port))
    server.start()
    try:
        await asyncio.to_thread(server.wait_for_port, port)
        stopping = threading.Event()

        async def ask(n: int) -> None:
            while not stopping.is_set():
                question = {"texts": [f"secret prompt {n}"]}
                try:
                    async with session.post(f"http://127.0.0.1:{port}/embed", json=question) as response:
                        outcomes.append(response.status)
                        await response.read()
                except aiohttp.ClientConnectionError:
                    return  # the listener, or an idle connection, is closed

        async with aiohttp.ClientSession() as session:
            askers = [asyncio.create_task(ask(n)) for n in range(16)]
            await asyncio.sleep(0.3)
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.stop) == 0
            stopping.set()
            await asyncio.gather(*askers)
    finally:
        server.kill()
    assert len(outcomes) > 16
    assert set(outcomes) == {200}
    assert "secret prompt" not in server.log.read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EMBEDDING_MODEL": "no-such-model"}, "EMBEDDING_MODEL=no-such-model"),
        ({"EMBED_BATCH_SIZE": "0"}, "EMBED_BATCH_SIZE"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_clear_line(project: Path, settings: dict[str, str], said: str) -> None:
    """Exit code 2, the setting named, no traceback."""
    command = [sys.executable, "-m", "services.embedder"]
    ran = subprocess.run(
        command,
        env={**environment(free_port(), **settings)},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_distill_makes_the_model_and_leaves(project: Path) -> None:
    """For the image build: prints where the model is, and exits 0."""
    real_encoder(STATIC)
    command = [sys.executable, "-m", "services.embedder", "--distill"]
    ran = subprocess.run(
        command, env=environment(free_port()), cwd=project, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert (Path(ran.stdout.strip()) / "model.safetensors").is_file()
