"""Off-policy evaluation from the history itself."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks import evaluate
from shared.schemas.history import PastRating, Waiting
from shared.schemas.storage import NewRecord
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from tests.unit.benchmarks.test_evaluate import WORTH, a_request, drawn

NOW = 1_795_000_000.0


async def fill(url: str, requests: int) -> None:
    """Write requests that were drawn; the last one's rating was taken back."""
    history = PostgresHistory(Settings(DATABASE_URL=url))
    await history.prepare()
    entries = []
    for seed in range(requests):
        record = a_request(drawn(seed=seed), NOW + seed)
        score = WORTH[record.decision.arm]
        ratings = [PastRating(record.id, 1, score, None, record.created_at)]
        if seed == requests - 1:
            ratings.append(PastRating(record.id, 2, None, None, record.created_at + 1))
        entries.append(Waiting(f"{2 * seed}-0", record.id, request=NewRecord(record, None)))
        entries += [Waiting(f"{2 * seed}-{one.revision}", record.id, rating=one) for one in ratings]
    assert await history.write(entries) == []
    await history.close()


def test_the_history_is_judged_as_an_exported_file_is(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request is read with the rating that counts, and what is logged is worth the mean of these."""
    asyncio.run(fill(database_url, 301))
    assert evaluate.main(["--database", database_url, "--set", "COST_WEIGHT=-0.2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == 300
    assert found["left_out"] == {"not rated": 1}
    same = found["targets"][0]["estimates"]["quality"]["SNIPS"]
    chosen = [WORTH[drawn(seed=seed).arm] for seed in range(300)]
    assert same["value"]["value"] == pytest.approx(sum(chosen) / 300, abs=1e-6)
    assert same["difference"]["value"] == pytest.approx(0, abs=1e-6)


def test_an_unreachable_database_is_reported_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, exit code 1, and no password in what is said."""
    assert evaluate.main(["--database", "postgresql://me:hunter2-hunter2@127.0.0.1:1/none"]) == 1
    said = capsys.readouterr().err
    assert said.strip()
    assert "hunter2" not in said
