"""The learner as a process that keeps the history: PostgreSQL away, killed learners, and the commands of a person."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from deploy.local.postgres import postgres_url
from deploy.local.servers import Server, free_port, postgres_command
from shared.schemas.history import OutboxBound
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_requests import RedisRequestLog
from tests.support.learner_rig import Rig, learner_rig, until
from tests.support.ledgers import ledgers_in, sums_in

SECRET = "hunter2-hunter2"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with learner_rig(tmp_path) as made:
        made.log = RedisRequestLog(
            made.client, window_s=3600.0, clock=made.log._clock, history_bound=OutboxBound(100_000)
        )
        yield made


@pytest.fixture
def own_postgres() -> Iterator[tuple[Server, int]]:
    """A PostgreSQL of the test's own, not yet started."""
    with tempfile.TemporaryDirectory(prefix="llm-router-postgres-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        server = Server("postgres", postgres_command(port, folder / "postgres", forgetful=True), folder / "log")
        yield server, port
        server.kill()


def rows(url: str) -> tuple[int, int, int]:
    """Numbers of requests, of ratings and of contributions."""
    with psycopg.connect(url) as connection:
        queries = (
            "SELECT count(*) FROM requests",
            "SELECT count(*) FROM feedback",
            "SELECT count(*) FROM contributions",
        )
        found = [connection.execute(query).fetchone() for query in queries]
    requests, ratings, contributions = (row[0] for row in found if row)
    return requests, ratings, contributions


def persistent(url: str) -> dict[str, str]:
    """Settings of a learner that keeps the history."""
    return {"ENABLE_PERSISTENCE": "true", "DATABASE_URL": url}


async def traffic(rig: Rig, number: int) -> None:
    """Requests, each rated and revised once."""
    for own_id in await rig.record(number):
        await rig.rate(own_id, 0.25)
        await rig.rate(own_id, 0.75)
    await rig.queue.wake()


async def outbox_empty(rig: Rig) -> bool:
    return (await RedisOutbox(rig.client).depth()).waiting == 0


async def test_postgres_away_costs_nothing_but_delay(rig: Rig, own_postgres: tuple[Server, int]) -> None:
    """Learning goes on meanwhile; when the database comes, and again after it was killed, every row is there, once."""
    server, port = own_postgres
    url = postgres_url(port).replace("llm_router@", f"llm_router:{SECRET}@")
    learner = rig.start_learner("services.learner", **persistent(url))
    await rig.living(1)
    await traffic(rig, 50)
    await until(rig.idle)
    assert sums_in(rig.url)["labels"] == 50
    assert not await outbox_empty(rig)
    server.start()
    await until(lambda: outbox_empty(rig))
    assert rows(url) == (50, 100, 100)
    server.kill()
    await traffic(rig, 30)
    await until(rig.idle)
    server.start()
    await until(lambda: outbox_empty(rig))
    assert rows(url) == (80, 160, 160)
    assert SECRET not in learner.log.read_text()


async def test_killed_learners_leave_each_row_once(rig: Rig, database_url: str) -> None:
    """Two learners, killed and replaced while they write: as many rows as were acknowledged, no more, no less."""
    learners = [rig.start_learner(**persistent(database_url)) for _ in range(2)]
    await rig.living(2)
    for at in range(4):
        await traffic(rig, 60)
        learners[at % 2].kill()
        learners[at % 2] = rig.start_learner(**persistent(database_url))
    await until(rig.idle)
    await until(lambda: outbox_empty(rig))
    assert rows(database_url) == (240, 480, 480)
    assert sums_in(rig.url) == ledgers_in(rig.url)


async def test_a_person_rebuilds_and_exports(rig: Rig, database_url: str, tmp_path: Path, qdrant_url: str) -> None:
    """Redis is lost, and everything is back after one command; the exported file has it all."""
    learner = rig.start_learner(**persistent(database_url))
    await rig.living(1)
    await traffic(rig, 20)
    await until(rig.idle)
    await until(lambda: outbox_empty(rig))
    sums = sums_in(rig.url)
    more = {**persistent(database_url), "QDRANT_URL": qdrant_url}
    assert learner.stop() == 0
    await rig.client.flushall()
    assert sums_in(rig.url) != sums
    said = command(rig, more, "rebuild")
    assert "100 % 20 of 20" in said
    assert "20 requests: learned state of 1 models" in said
    assert sums_in(rig.url) == sums == ledgers_in(rig.url)

    out = tmp_path / "history.jsonl"
    assert "20 requests exported" in command(rig, more, "export", "--out", str(out), "--vectors")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 20
    assert {line["score"] for line in lines} == {0.75}
    assert all(len(line["feedback"]) == 2 for line in lines)
    assert all(line["decision"]["views"][0]["propensity"] == 1 for line in lines)
    assert all(line["vector"] for line in lines)


def command(rig: Rig, more: Mapping[str, str], *words: str, code: int = 0) -> str:
    """Run a command of the learner; return all it says."""
    environment = {**rig.environment(**more), "PATH": os.environ["PATH"], "LOG_LEVEL": "warn"}
    done = subprocess.run(
        [sys.executable, "-m", "services.learner", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


async def test_an_unusable_address_is_refused_without_repeating_it(rig: Rig) -> None:
    """A mistyped DATABASE_URL stops the start with code 2, and its password is in no line."""
    said = command(rig, persistent(f"postgresql://me:{SECRET}@[::1/x?y=z"), "run", code=2)
    assert "DATABASE_URL" in said
    assert SECRET not in said
