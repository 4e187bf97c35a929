"""What the code of commit 614aeac has stored is read: records, spool lines, a Redis with requests, events and outbox.

The samples in `tests/samples/614aeac` were written by that code; the last line of `records.jsonl` has the form of even
older ones: neighbours with names, no fields of later versions, an unknown cost as 0.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from services.gateway.records.spool import Spool
from services.learner.commands.forget import Selection, forget
from shared.schemas.events import EventKind
from shared.schemas.history import Waiting
from shared.schemas.records import Lesson, RequestRecord, Status
from shared.schemas.storage import NewRecord
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.postgres_history import PostgresHistory
from tests.support.learning import a_learner
from tests.support.ledgers import ledgers_in
from tests.support.redis_rig import redis_rig

OWN_ID = "01932e4a-7c00-7abc-8def-00000000000{}"


@pytest.fixture(scope="module")
def samples() -> Path:
    return Path(__file__).parent.parent / "samples" / "614aeac"


def test_records_are_read_and_written_the_same(samples: Path) -> None:
    """Nothing is lost: what is written again is what was read."""
    lines = (samples / "records.jsonl").read_bytes().splitlines()
    assert len(lines) == 5
    for line in lines[:-1]:
        record = RequestRecord.from_json(line)
        written = orjson.loads(record.to_json())
        assert written.pop("traits") == [], "the old code knew no traits"
        assert written.pop("evaluation_plan") is None, "the old code knew no evaluations"
        assert written.pop("repeats") is None, "the old code knew no repeated prompts"
        assert written["outcome"].pop("failed_checks") is None, "the old code checked no answer"
        for decision in (written["decision"], written["shadow"] or {}):
            assert not decision.pop("group", None), "the old code knew no control group"
            assert not decision.pop("terms", ""), "the old code knew no terms"
            if decision.pop("unfit", []) != []:
                pytest.fail("the old code knew no unfit arms")
            assert decision.pop("searched", None) in (None, True), "the old code searched for every request"
            for name in ("kind_size", "kind_requests", "kind_labels", "nearness", "examples"):
                assert not decision.pop(name, None), "the old code knew no kinds of prompt"
            for view in decision.get("views", ()):
                assert view.pop("rating_sd", 0.0) == 0.0
        for attempt in written["outcome"]["attempts"]:
            assert (attempt.pop("scope"), attempt.pop("feature")) == (None, None)
        assert written == orjson.loads(line)
        assert Lesson.from_json(line) == Lesson.of(record)


def test_records_of_even_earlier_versions_are_read(samples: Path) -> None:
    """They differ from the first one in what they do not say."""
    first, *_, oldest = map(RequestRecord.from_json, (samples / "records.jsonl").read_bytes().splitlines())
    assert (oldest.outcome.cost_usd, first.outcome.cost_usd) == (None, 0.00125)
    assert oldest.decision == first.decision
    assert len(oldest.decision.neighbours) == 4
    assert (oldest.id, oldest.toll, oldest.shadow) == (first.id, None, None)


async def test_records_of_earlier_versions_go_into_the_history(samples: Path, database_url: str) -> None:
    """As they wait in a spool or in the outbox during an update; they come back as they were."""
    lines = (samples / "records.jsonl").read_bytes().splitlines()[:-1]
    entries = [NewRecord(RequestRecord.from_json(line), None) for line in lines]
    history = PostgresHistory(Settings(DATABASE_URL=database_url))
    await history.prepare()
    assert await history.write([Waiting("1-1", each.record.id, request=each) for each in entries]) == []
    read = [past.entry.record async for page in history.read(since=0.0) for past in page]
    assert sorted(read, key=lambda one: one.id) == sorted((each.record for each in entries), key=lambda one: one.id)
    await history.close()


def test_spool_lines_are_read(samples: Path, tmp_path: Path) -> None:
    """With their vectors and prompts."""
    shutil.copy(samples / "segment.spool", tmp_path / "1.spool")
    spool = Spool(tmp_path, max_bytes=1 << 20)
    spool.adopt()
    segment = spool.next_segment()
    assert segment is not None
    full, shadowed, failed = spool.read(segment)
    spool.close()
    assert [entry.record.id for entry in (full, shadowed, failed)] == [OWN_ID.format(number) for number in range(3)]
    assert (full.prompt, shadowed.prompt) == (None, "the prompt \u00e4")
    assert failed.vector is None
    assert full.vector is not None
    assert np.linalg.norm(full.vector) == pytest.approx(1.0)
    assert failed.record.outcome.status is Status.FAILED
    assert shadowed.record.toll is not None


async def test_a_redis_of_the_old_code_is_read(samples: Path, redis_url: str) -> None:
    """Requests with a rating, the events that tell the learner of them, and what waits for the history."""
    stored = json.loads((samples / "redis.json").read_text())
    async with redis_rig(redis_url, history_bound=1000) as rig:
        for key in stored["keys"]:
            await _put_back(rig.raw, key)
        events = await rig.queue.read("learner", 10)
        assert Counter(event.kind for event in events) == {EventKind.OUTCOME: 3, EventKind.FEEDBACK: 1}
        assert [event.score for event in events if event.kind is EventKind.FEEDBACK] == [0.75]
        rated, shadowed, failed = await rig.log.load([OWN_ID.format(number) for number in range(3)])
        assert rated is not None
        assert shadowed is not None
        assert failed is not None
        assert (rated.score, rated.revision, shadowed.score) == (0.75, 1, None)
        assert [one.record.rateable for one in (rated, shadowed, failed)] == [True, True, False]
        found = await rig.log.find(owner="public", public_id="client-1")
        assert found is not None
        assert found.rating is not None
        assert (found.rating.text, len(found.record.decision.neighbours)) == ("good \u00e4", 4)
        waiting = await rig.outbox.read(10)
        assert [entry.request is not None for entry in waiting] == [True, True, True, False]
        assert (waiting[0].request and waiting[0].request.prompt, waiting[3].rating is not None) == ("the prompt", True)


async def _put_back(raw: Any, stored: dict[str, Any]) -> None:
    key, value = stored["key"].encode("latin-1"), stored["value"]
    if stored["type"] == "string":
        await raw.set(key, value.encode("latin-1"))
    elif stored["type"] == "hash":
        await raw.hset(key, mapping=_encoded(value))
    elif stored["type"] == "set":
        await raw.sadd(key, *[member.encode("latin-1") for member in value])
    elif stored["type"] == "zset":
        await raw.zadd(key, {member.encode("latin-1"): score for member, score in value})
    else:
        for entry_id, fields in value:
            await raw.xadd(key, _encoded(fields), id=entry_id)


def _encoded(fields: dict[str, str]) -> Any:
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in fields.items()}


async def test_what_commit_690de19_has_learned_is_read_revised_and_forgotten(samples: Path, redis_url: str) -> None:
    """Records and vectors in the hash, ledgers of JSON, owners by public id: all of it goes on as it was."""
    stored = json.loads((samples.parent / "690de19" / "redis.json").read_text())
    async with redis_rig(redis_url) as rig:
        for key in stored["keys"]:
            await _put_back(rig.raw, key)
        learned, rated, waiting = await rig.log.load([OWN_ID.format(number) for number in range(3)])
        for one, kind, vector in ((learned, True, True), (rated, True, True), (waiting, False, True)):
            assert one is not None
            assert (one.assigned is not None, one.vector is not None, one.record.traits) == (kind, vector, ("json",))
        for owner in ("5f2b9c0d", None):
            found = await rig.log.find(owner=owner, public_id="client-1")
            assert found is not None
            assert (found.outcome_applied, found.rating_applied, found.evaluation is not None) == (True, 1, True)
            assert [use[0] for use in found.record.decision.neighbours] == [OWN_ID.format(7)]
        before = await _sums(rig.raw)
        assert (before["requests"], before["labels"], before["score_micro"]) == (2, 1, 750_000)
        now = rig.clock.now()
        assert await rig.log.rate(owner="5f2b9c0d", public_id="client-1", score=0.25, text=None, now=now) == "revised"
        assert await rig.log.rate(owner="public", public_id="client-0", score=1.0, text=None, now=now) == "accepted"
        await a_learner(rig).drain()
        after = await _sums(rig.raw)
        assert (after["requests"], after["labels"], after["score_micro"]) == (3, 3, 250_000 + 1_000_000 + 500_000)
        assert ledgers_in(redis_url) == {name: value for name, value in after.items() if value}
        assert await rig.log.indexed(await rig.log.pending_index(10)) == []
        assert len((await rig.request_list.page(None, before="", limit=10)).requests) == 3
        await forget(Selection(), rig.log, rig.posteriors, lambda _: None)
        assert not any((await _sums(rig.raw)).values())


async def _sums(raw: Any) -> Counter[str]:
    total = Counter[str]()
    async for key in raw.scan_iter(redis_keys.sums("*", "*")):
        for name, value in (await raw.hgetall(key)).items():
            total[name.decode()] += int(value)
    return total
