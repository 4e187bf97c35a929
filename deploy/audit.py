"""Audit after a trial: compares acknowledged requests with records, learned sums, `/arms` and PostgreSQL.

The ledger of each request holds what it has added to the sums. If sums and ledgers differ in any field of any model,
something was lost or counted twice. `GET /arms` lists the models that the router chooses from, which are fewer when
DEFAULT_MODEL is not among them.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.compose_trial import Broken, Compose, until

SETTLE_S = 120.0
SHOWN_S = 10.0
"""Longest delay until `/arms` shows what has been learned."""

HALF_LIFE_DAYS = 30.0
"""Default of RECENCY_DAYS, which the trial does not change."""

TOTALS = """
SELECT split_part(key, '|', 1) || '=' || sum(value::numeric) FROM contributions, json_each_text(sums)
WHERE key NOT LIKE '%@%' GROUP BY split_part(key, '|', 1)
"""
SCRIPT = "".join(
    path.read_text(encoding="utf-8")
    for path in (
        Path(__file__).parent.parent / "shared" / "storage" / "stored_ledger.lua",
        Path(__file__).with_suffix(".lua"),
    )
)
Tally = Counter[tuple[str, str, str]]
"""From arm, UTC day and field to a sum."""

_EPOCH = date(1970, 1, 1)


def audit(compose: Compose, names: Sequence[str], answered: set[str], rated: set[str]) -> bool:
    """Print the audit of the requests `names`; return whether all acknowledged ones were counted exactly once."""
    until(SETTLE_S, "no event waits", lambda: _drained(compose))
    with ThreadPoolExecutor(16) as pool:
        stories = dict(
            zip(names, pool.map(lambda name: compose.call("GET", f"/requests/{name}")[1], names), strict=True)
        )
    recorded = {name for name, story in stories.items() if (story.get("outcome") or {}).get("status") == "answered"}
    learned = {name for name, story in stories.items() if (story.get("learned") or {}).get("feedback")}
    print(
        f"\nanswers acknowledged {len(answered)}, recorded {len(answered & recorded)}, lost {len(answered - recorded)}"
    )
    print(f"ratings acknowledged {len(rated)}, learned {len(rated & learned)}, lost {len(rated - learned)}")
    lost = (answered - recorded) | (rated - learned) | _missing_history(compose, answered, rated)
    if lost:
        print("LOST:", sorted(lost)[:10], json.dumps({name: stories[name] for name in sorted(lost)[:2]})[:2000])
    rated_by_model = Counter(str(stories[name]["model"]) for name in learned)
    faults = list(_faults(compose, rated_by_model))
    for fault in faults:
        print("NOT EXACTLY ONCE:", fault)
    return not lost and not faults


def _faults(compose: Compose, rated: Mapping[str, int]) -> Iterable[str]:
    """Yield differences between ledgers, sums, `/arms`, the history and `rated`: rated requests by model."""
    lines = compose("exec", "-T", "redis", "redis-cli", "--raw", "EVAL", SCRIPT, "0", quiet=True).splitlines()
    sums, ledgers = tallies(lines)
    differing = different(sums, ledgers)
    labels = Counter[str]()
    for (arm, _, field), number in sums.items():
        labels[arm] += number if field == "labels" else 0
    for arm in sorted(rated.keys() | labels.keys()):
        if rated.get(arm, 0) != labels[arm]:
            yield f"{arm}: {labels[arm]} ratings in the sums, {rated.get(arm, 0)} rated requests"
    shown = _shown(compose, sums)
    hidden = {arm: number for arm, number in labels.items() if number and arm not in shown}
    print(f"ratings in the sums {sum(labels.values())}, of requests {sum(rated.values())}", end="; ")
    print(f"of models that /arms does not list: {hidden or 0}")
    print(f"sums by model, day and field {len(sums)}, different from the ledgers {len(differing)}")
    yield from differing
    yield from (
        f"{arm}: /arms shows {was} ratings for {due}" for arm, (was, due) in shown.items() if not _same(was, due)
    )
    yield from _not_in_history(compose, ledgers)


def _not_in_history(compose: Compose, ledgers: Tally) -> list[str]:
    """Return the fields whose sums in PostgreSQL differ from the ledgers, after time to be written."""
    ours = Counter[str]()
    for (_, _, field), number in ledgers.items():
        ours[field] += number
    theirs = Counter[str]()

    def complete() -> bool:
        theirs.clear()
        theirs.update(
            {field: int(number) for field, _, number in (row.partition("=") for row in rows(compose, TOTALS))}
        )
        return all(theirs[field] == number for field, number in ours.items())

    with contextlib.suppress(Broken):
        until(SETTLE_S, "the history has all contributions", complete)
    return [
        f"{field}: {theirs[field]} in PostgreSQL, {ours[field]} in the ledgers"
        for field in sorted(ours.keys() | theirs.keys())
        if ours[field] != theirs[field]
    ]


def tallies(lines: Iterable[str]) -> tuple[Tally, Tally]:
    """Parse the output of `audit.lua`; return sums and ledgers."""
    both: dict[str, Tally] = {"sums": Counter(), "ledgers": Counter()}
    for line in lines:
        if line:
            place, arm, day, field, number = line.split("\t")
            iso = (_EPOCH + timedelta(days=int(day))).isoformat() if day.isdigit() else day
            both[place][arm, iso, field] += int(number)
    return both["sums"], both["ledgers"]


def different(sums: Tally, ledgers: Tally) -> list[str]:
    """Return the differences between sums and ledgers, as texts. A sum of 0 equals a missing one."""
    keys = sorted(sums.keys() | ledgers.keys())
    return [f"{' '.join(key)}: {sums[key]} in the sums, {ledgers[key]} in the ledgers" for key in keys
            if sums[key] != ledgers[key]]  # fmt: skip


def _shown(compose: Compose, sums: Tally) -> dict[str, tuple[float, float]]:
    """Return actual and expected ratings of each model in `/arms`, when they agree or after SHOWN_S."""
    today = datetime.now(UTC).date()
    due: dict[str, float] = defaultdict(float)
    for (arm, day, field), number in sums.items():
        weight = 0.5 ** (max((today - date.fromisoformat(day)).days, 0) / HALF_LIFE_DAYS)
        due[arm] += number * weight if field == "labels" else 0.0
    shown: dict[str, tuple[float, float]] = {}

    def right() -> bool:
        arms: list[dict[str, Any]] = compose.call("GET", "/arms")[1]["data"]
        shown.update({arm["arm"]: (arm["labels"], due[arm["arm"]]) for arm in arms})
        return all(_same(*pair) for pair in shown.values())

    with contextlib.suppress(Broken):
        until(SHOWN_S, "/arms shows the ratings", right)
    return shown


def _same(was: float, due: float) -> bool:
    return abs(was - due) < 0.01


def _missing_history(compose: Compose, answered: set[str], rated: set[str]) -> set[str]:
    """Return the requests that PostgreSQL lacks, after time to be written."""
    there: list[set[str]] = [set(), set()]
    queries = (
        "SELECT public_id FROM requests JOIN outcomes ON request_id = id",
        "SELECT DISTINCT public_id FROM requests JOIN feedback ON request_id = id",
    )

    def complete() -> bool:
        for i, query in enumerate(queries):
            there[i] = rows(compose, query)
        return answered <= there[0] and rated <= there[1]

    with contextlib.suppress(Broken):
        until(SETTLE_S, "the history is complete", complete)
    missing = (answered - there[0]) | (rated - there[1])
    print(f"in PostgreSQL: answers {len(answered & there[0])}, ratings {len(rated & there[1])}, lost {len(missing)}")
    return missing


def rows(compose: Compose, query: str) -> set[str]:
    """Return one column of a query; nothing while PostgreSQL does not answer."""
    asked = ("psql", "-h", "127.0.0.1", "-U", "llm_router", "-d", "llm_router", "-tA", "-c", query)
    try:
        return set(compose("exec", "-T", "-e", "PGPASSWORD=llm_router", "postgres", *asked, quiet=True).split())
    except Broken:
        return set()


def _drained(compose: Compose) -> bool:
    parts = compose.call("GET", "/health")[1]["parts"]
    return parts["recorder"]["status"] == "ok" and str(parts["queue"]["detail"]).startswith("0 waiting")
