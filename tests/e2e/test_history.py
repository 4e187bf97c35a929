"""`ENABLE_PERSISTENCE=true make run`: the stack starts its own PostgreSQL, and requests end up in it."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from deploy.local.plan import Planner, Simulation
from deploy.local.stack import Stack
from shared.settings import Settings, load_settings
from tests.e2e.conftest import MODELS

COLUMNS = """SELECT r.prompt, d.settings_hash, s.content->>'EXPLORATION_RATE', d.propensities, o.status, f.score, c.sums
    FROM requests r JOIN decisions d ON d.request_id = r.id JOIN outcomes o ON o.request_id = r.id
    JOIN settings s ON s.hash = d.settings_hash JOIN feedback f ON f.request_id = r.id
    JOIN contributions c ON c.request_id = r.id AND c.kind = 'feedback' WHERE r.public_id = %s"""


@pytest.fixture
def remembering() -> Iterator[tuple[Stack, Settings, Path]]:
    """A stack with a history, its settings and its folder."""
    given = {"ENABLE_PERSISTENCE": "true", "STORE_PROMPTS": "true", "DATABASE_SSL_MODE": "require"}
    settings = load_settings({"HOST": "127.0.0.1", **given}, None)
    with tempfile.TemporaryDirectory(prefix="llm-router-stack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL leaves root, and has to get in all the same
        planner = Planner(settings, folder, MODELS, Simulation(speed=20, failures=0), anywhere=True)
        with Stack(planner) as stack:
            stack.start()
            yield stack, settings, folder


async def test_a_chat_and_its_rating_become_rows(remembering: tuple[Stack, Settings, Path]) -> None:
    """Request, decision, outcome, rating and what was learned of it; the prompt because it was asked for, in no log."""
    stack, settings, folder = remembering
    database = next(part.url for part in stack.plan.parts if part.name == "postgres")
    prompt = f"What is {uuid.uuid4()}?"
    row = await asyncio.wait_for(_row(stack.plan.gateway_url, database, prompt), 30)
    assert row[:3] == (prompt, settings.decisive_hash(), "0.1")
    assert sum(row[3]) == pytest.approx(1)
    assert row[4:6] == ("answered", 0.75)
    assert row[6]["score_micro"] == 750_000
    shown = await asyncio.wait_for(_example(stack.plan.gateway_url), 30)
    assert shown["prompt"] == prompt
    logs = "".join(log.read_text(errors="replace") for log in (folder / "logs").glob("*.log"))
    assert "learner runs" in logs
    assert prompt not in logs


async def _example(url: str) -> dict[str, Any]:
    """Return the first example of the first kind of prompt, once there is one."""
    async with aiohttp.ClientSession(url) as session:
        while True:
            async with session.get("/arms", params={"kinds": 1}) as answer:
                shown = await answer.json()
            assert shown["prompts"] == "stored"
            if shown["kinds"]:
                example = dict(shown["kinds"][0]["examples"][0])
                async with session.get(f"/requests/{example['request_id']}") as answer:
                    assert (await answer.json())["request_id"] == "first"
                return example
            await asyncio.sleep(0.1)


async def _row(url: str, database: str, prompt: str) -> tuple[Any, ...]:
    async with aiohttp.ClientSession(url) as session:
        body = {"messages": [{"role": "user", "content": prompt}]}
        async with session.post("/chat/completions", json=body, headers={"X-Request-ID": "first"}) as answer:
            assert answer.status == 200
        async with session.post("/feedback", json={"request_id": "first", "score": 0.75}) as answer:
            assert answer.status == 202
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while True:
            if await (await connection.execute("SELECT to_regclass('contributions')")).fetchone() != (None,):
                row = await (await connection.execute(COLUMNS, ["first"])).fetchone()
                if row is not None:
                    return row
            await asyncio.sleep(0.1)
