"""The embedder for tests: real models, kept between sessions in the project's own cache, and the service in-process."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from deploy.local.servers import free_port
from services.embedder.app import build_app, start
from services.embedder.encoder import Encoder, FastembedEncoder, load_encoder
from shared.settings import Settings

MODEL_CACHE = Path(__file__).resolve().parents[2] / ".local" / "models"


@functools.cache
def real_encoder(name: str) -> FastembedEncoder:
    """A real model, loaded once a session; the first session ever distils the static one."""
    return load_encoder(name, MODEL_CACHE, lambda _done, _total: None)


@contextlib.asynccontextmanager
async def running_embedder(encoder: Encoder, **settings: Any) -> AsyncIterator[str]:
    """The service on a free port of this process; yields its base URL."""
    port = free_port()
    chosen = Settings(EMBEDDER_HOST="127.0.0.1", EMBEDDER_PORT=port, DRAIN_TIMEOUT_S=1.0, **settings)
    runner = await start(build_app(chosen, encoder), chosen)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
