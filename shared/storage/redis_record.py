"""Arguments of `record.lua`: one finished request, and what else is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.schemas.events import FIRST_VERSION
from shared.schemas.records import RequestRecord, Status
from shared.schemas.storage import NewRecord
from shared.schemas.traffic import TrafficBounds
from shared.storage import redis_keys
from shared.storage.redis_connection import Call
from shared.storage.request_codec import packed_belief

STEPS_KEPT = 100
"""Steps of a conversation that a rating of it is credited to: the latest."""


@dataclass(frozen=True, slots=True)
class RecordCall:
    """Maker of the calls of `record.lua`: `outbox` is that of the history, and its bound."""

    ttl_ms: int
    outbox: tuple[str, str]
    traffic: TrafficBounds

    def __call__(self, entry: NewRecord) -> Call:
        """Return keys and arguments for a record."""
        record, own_id = entry.record, entry.record.id
        vector = b"" if entry.vector is None else np.asarray(entry.vector, dtype="<f4").tobytes()
        keys = [
            redis_keys.request(own_id),
            *redis_keys.alias_keys(record.owner, record.public_id),
            redis_keys.EVENTS,
            redis_keys.explored(utc_day(record.created_at)),
            redis_keys.rate(record.owner),
            redis_keys.spent(record.owner, record.toll.day if record.toll else ""),
            *(redis_keys.namesake_keys(record.public_id, own_id) or [redis_keys.request(own_id)]),
            redis_keys.story(own_id),
            redis_keys.vector(own_id),
        ]
        outcome, created_at = record.outcome, repr(record.created_at)
        if outcome.status is not Status.FAILED:
            sessions = (record.session, *entry.calls) if record.session else entry.calls
            keys += [redis_keys.session(record.owner, session) for session in sessions]
        return keys, [own_id, record.to_json(), vector, record.owner, outcome.status, created_at, self.ttl_ms,
                      FIRST_VERSION, entry.last_answer.to_text(), round(record.explored_usd * NANO), *self.outbox,
                      (entry.prompt or "").encode("utf-8", "surrogatepass"),
                      *_unreserved(record), _steps_key(record), STEPS_KEPT,
                      self.traffic.requests, redis_keys.LISTED, redis_keys.listed(record.owner), outcome.arm,
                      *traffic_place(self.traffic), packed_belief(record),
                      "1" if record.public_id == own_id else "0", record.embedding_model or ""]  # fmt: skip


def traffic_place(bounds: TrafficBounds) -> tuple[str, str, int]:
    """Return where `traffic.lua` adds scores, and for how many days."""
    return redis_keys.minute(""), redis_keys.hour(""), bounds.days


def _steps_key(record: RequestRecord) -> str:
    """Return the key of the list that a whole answer in a conversation is added to; '' for any other record."""
    return redis_keys.session_steps(record.owner, record.session) if record.session and record.rateable else ""


def _unreserved(record: RequestRecord) -> tuple[int | str, int | str]:
    """Return tokens and 1e-9 USD that were used beyond the reservation; '' for nothing to settle."""
    toll, outcome = record.toll, record.outcome
    if toll is None:
        return "", ""
    used = outcome.prompt_tokens + outcome.completion_tokens
    return "" if toll.tokens is None else used - toll.tokens, round(outcome.spent_usd * NANO) - toll.nano_usd
