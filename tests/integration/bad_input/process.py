"""A gateway as a process of its own, with a simulated upstream."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.servers import Server, free_port, running
from tests.integration.bad_input.wire import KEY, OTHER_KEY, Answer, exchange, request

MODELS = "deepseek/deepseek-r1-0528:free,google/gemma-3-27b-it:free"
BODY_LIMIT = 3 * 1024 * 1024


@dataclass
class Gateway:
    """Where it listens, and what it has written."""

    port: int
    server: Server

    @property
    def log(self) -> str:
        return self.server.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.server.process is not None and self.server.process.poll() is None

    def send(self, *parts: bytes | float, **options: float) -> Answer:
        """Exchange, and insist on an answer."""
        answer = exchange(self.port, *parts, **options)
        assert answer is not None, "the gateway closed without an answer"
        return answer

    def ready(self) -> bool:
        """Whether the next, good request is served."""
        return self.send(request("/ready", method="GET", key=None)).status == 200


@contextmanager
def gateway_process(folder: Path, redis_url: str, qdrant_url: str, **changes: str) -> Iterator[Gateway]:
    """Start simulator and gateway; stop both at the end."""
    upstream, port = free_port(), free_port()
    simulator = [sys.executable, "-m", "deploy.simulator", "--port", str(upstream), "--speed", "100",
                 "--failures", "0"]  # fmt: skip
    settings = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "API_KEYS": f"{KEY},{OTHER_KEY}",
        "OPENROUTER_API_KEY": "",
        "OPENROUTER_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
        "LLM_MODELS": MODELS,
        "DEFAULT_MODEL": MODELS.split(",", maxsplit=1)[0],
        "MAX_BODY_BYTES": str(BODY_LIMIT),
        "BODY_TIMEOUT_S": "1",
        "REDIS_URL": redis_url,
        "REDIS_TIMEOUT_MS": "2000",  # a busy test machine is no Redis that is away
        "QDRANT_URL": qdrant_url,
        "EMBEDDER_URL": f"http://127.0.0.1:{free_port()}",  # away: what it does is not what is tested
        "SPOOL_DIR": str(folder / "spool"),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
        "CORS_ORIGINS": "https://app.example",
        **changes,
    }
    with ExitStack() as stack:
        stack.enter_context(running(Server("simulator", simulator, folder / "simulator.log"), upstream))
        server = Server("gateway", [sys.executable, "-m", "services.gateway"], folder / "gateway.log", settings)
        stack.enter_context(running(server, port))
        gateway = Gateway(port, server)
        deadline = time.monotonic() + 20
        while not gateway.ready() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield gateway
        assert server.stop() == 0, "it did not drain and leave by itself"
