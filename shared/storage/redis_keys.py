"""All Redis keys, with lifetime and reason. All share one hash tag, so that a script may use any of them."""

from __future__ import annotations

from shared.schemas.ids import may_be_own_id

TAG = "{router}"
KEYLESS_OWNER = "public"
"""Owner of requests that were sent without a key."""

EVENTS = f"{TAG}:events"
"""Stream of events to learn from. An entry lives until its effect is applied; never trimmed."""

EVALUATIONS = f"{TAG}:evaluations"
"""Stream of evaluations to carry out: id, day and reserved cost. An entry lives until it is finished; bounded."""

GROUP = "learners"
"""The one consumer group of `EVENTS`, and of `EVALUATIONS`."""

DEAD = f"{TAG}:dead"
"""Stream of events that could not be applied, each with its reason. Lives until requeued or deleted by hand."""

HISTORY = f"{TAG}:history"
"""Stream, the outbox of the history: what PostgreSQL does not have yet. Bounded; empty without ENABLE_PERSISTENCE."""

HISTORY_DROPPED = f"{HISTORY}:dropped"
"""String: number of entries dropped because the outbox was full. No expiry."""

HISTORY_BYTES = f"{HISTORY}:bytes"
"""String: bytes waiting in the outbox. Lives while it is not empty."""

VERSIONS = f"{TAG}:versions"
"""Hash: `<arm>|<day>` to a counter that grows with every change of that hash of sums. It is the index of them, too."""

KINDS = f"{TAG}:kinds"
"""Hash, the kinds of prompt: `generation`, `model`, `dimension`, `order` (of the last assignment), `next_id`, `ids` (in
the order of the rows), `mark` (of the last save, random); by id `k:` (count and sum of vectors, little-endian float64),
`m:` (the id it was merged into), `e:` (examples, JSON). No expiry."""

CENTROIDS = f"{TAG}:centroids"
"""Hash of cluster centres, by versions before `KINDS`, which is made of it. Expires a day after that."""

MISCOUNTED = f"{TAG}:miscounted"
"""Set, beside `CENTROIDS`. Expires with it."""

UNINDEXED = f"{TAG}:unindexed"
"""Sorted set: own ids whose point in Qdrant is out of date, scored by Unix time. Survives Qdrant being away."""

ARQ_QUEUE = f"{TAG}:arq"
"""arq's queue of wake-ups. Losing it loses nothing: a cron job sweeps the stream."""

PROBE = f"{TAG}:probe"
"""Never exists: /health writes nothing to it, to test whether Redis accepts writes."""

SUMS = f"{TAG}:sums:"
"""What the keys of sums start with; scripts that touch several of them add `<arm>|<day>`."""

ARMS = f"{TAG}:arms"
"""Hash: model to `1`, added to LLM_MODELS at run time, or `0`, taken out. No expiry: it outlives restarts."""

FREE_ARMS = f"{TAG}:free-arms"
"""String: the models that `free` in LLM_MODELS stands for, with spaces between. No expiry: it outlives restarts."""

NOTICES = f"{TAG}:notices"
"""Hash: gateway to its gossip, preceded by its time (ms). Expires a minute after the last."""

LISTED = f"{TAG}:listed"
"""Sorted set: own ids of the latest requests of all owners, all with score 0. Bounded; lives as long as the last."""

OWNERS = f"{TAG}:key-owners"
"""Set: owners of requests with a key, by whose aliases admins find a public id. No expiry: one entry for each key."""

LEARNERS = f"{TAG}:learners"
"""Set: names of learners, living or lately dead. Saves a scan of all keys; readers remove the dead."""


def request(own_id: str) -> str:
    """Hash of what a rating needs of a request: owner, ratings, kind of prompt, and what of it has been applied.

    Lives for the feedback window and a week, so that no late event finds its ledger gone. Earlier versions kept the
    record and the vector here, too.
    """
    return f"{TAG}:request:{own_id}"


def story(own_id: str) -> str:
    """String: the record of a request. As JSON, as long as the request, until it is learned.

    After that it is packed (`story_codec.py`) and lives for STORY_HOURS; with a history it goes once it is there.
    """
    return f"{TAG}:story:{own_id}"


def vector(own_id: str) -> str:
    """String: the vector of a request, little-endian float32; once that is learned in one byte a number.

    Lives until the request is rated and its point written, at most as long as the request.
    """
    return f"{TAG}:vector:{own_id}"


def imported(own_id: str) -> str:
    """Hash of an imported prompt: record, kind of prompt, and what of it has been applied.

    Lives until its weight has fallen below 1/256, as sums do.
    """
    return f"{TAG}:imported:{own_id}"


def listed(owner: str) -> str:
    """Sorted set, like `LISTED`: the latest requests of one owner. Lives as long as the last of them."""
    return f"{LISTED}:{owner}"


def minute(number: int | str) -> str:
    """Hash: figures of the requests made in a minute (Unix time / 60), `<measure>|<arm>`. Expires after a day."""
    return f"{TAG}:minute:{number}"


def hour(number: int | str) -> str:
    """Hash: the same of an hour (Unix time / 3600). Expires after STATS_DAYS."""
    return f"{TAG}:hour:{number}"


def posteriors_minute(number: int) -> str:
    """Hash: posteriors of all arms at the end of a minute (Unix time / 60), JSON by arm. Expires after a day."""
    return f"{TAG}:posteriors:minute:{number}"


def posteriors_hour(number: int) -> str:
    """Hash: the same of an hour (Unix time / 3600). Expires after STATS_DAYS."""
    return f"{TAG}:posteriors:hour:{number}"


def spend(day: str) -> str:
    """Hash: what each owner used on a UTC day, `<measure>|<owner>`. Expires after STATS_DAYS."""
    return f"{TAG}:spend:{day}"


def alias(owner: str, public_id: str) -> str:
    """String: the own id of the request that `owner` knows as `public_id`. Lives as long as the request.

    The own id is followed by `!` once that request has failed: then the public id may be claimed again.
    """
    return f"{TAG}:alias:{owner}:{public_id}"


def owners(public_id: str) -> str:
    """Hash, by earlier versions: the owners who have a request of this public id. Lives as long as the request."""
    return f"{TAG}:owners:{public_id}"


def alias_keys(owner: str, public_id: str) -> list[str]:
    """The key under which a request is known to its owner, and that by which admins, who know no owner, find this."""
    own = alias(owner, public_id)
    return [own, own if owner == KEYLESS_OWNER else OWNERS]


def namesake_keys(public_id: str, own_id: str) -> list[str]:
    """The key of the request whose own id a client may have chosen as the public id of another; none for other ids."""
    return [request(public_id)] if public_id != own_id and may_be_own_id(public_id) else []


def session(owner: str, session_hash: str) -> str:
    """String: the arm that answered last in a conversation of `owner`, or made a tool call. Expires after a day."""
    return f"{TAG}:session:{owner}:{session_hash}"


def session_steps(owner: str, session_hash: str) -> str:
    """List: own ids of the latest whole answers in a conversation of `owner`. Lives as long as the last of them."""
    return f"{TAG}:session-steps:{owner}:{session_hash}"


def explored(day: str) -> str:
    """String: what one UTC day's answers that only exploration chose have cost, in 1e-9 USD. Expires after two days."""
    return f"{TAG}:explored:{day}"


def evaluation_task(own_id: str) -> str:
    """String: what a learner needs to evaluate a request, with prompt and answer. Until it is done, an hour at most."""
    return f"{TAG}:evaluation:{own_id}"


def evaluation_spent(day: str) -> str:
    """String: what evaluations of one UTC day have cost, in 1e-9 USD, reservations included. Expires after two days."""
    return f"{TAG}:evaluation-spent:{day}"


def idempotency(owner: str, key_hash: str) -> str:
    """String: fingerprint of a rating and what was answered, under `owner`'s Idempotency-Key. Expires after a day."""
    return f"{TAG}:idempotency:{owner}:{key_hash}"


def feedback_rate(owner: str, minute: int) -> str:
    """String: number of ratings of `owner` in one minute (Unix time / 60). Expires after two."""
    return f"{TAG}:feedback-rate:{owner}:{minute}"


def rate(owner: str) -> str:
    """Hash: requests and tokens that a key has left of its minute, and when (`at`, ms). Expires after an idle hour."""
    return f"{TAG}:rate:{owner}"


def spent(owner: str, day: str) -> str:
    """String: what a key has spent on one UTC day, in 1e-9 USD, reservations included. Expires after two days."""
    return f"{TAG}:spent:{owner}:{day}"


def sums(arm: str, day: str) -> str:
    """Hash: the integer sums of one arm and one UTC day. Dropped when its weight has fallen below 1/256."""
    return f"{SUMS}{arm}|{day}"


def learner(worker: str) -> str:
    """String: version of a living learner. Expires a few seconds after its last heartbeat."""
    return f"{TAG}:learner:{worker}"


def database(worker: str) -> str:
    """String: what a learner found of the database, as JSON. Expires half a minute after it looked."""
    return f"{TAG}:database:{worker}"


def arq_health(worker: str) -> str:
    """String: arq's own health line of one worker. By default all workers would share, and delete, a single one."""
    return f"{ARQ_QUEUE}:health:{worker}"
