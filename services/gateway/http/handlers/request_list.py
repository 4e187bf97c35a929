"""`GET /requests`: the latest requests, newest first, for their owner or an admin."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from services.gateway.http.app_keys import REQUEST_CONTEXT, REQUEST_LIST
from services.gateway.http.handlers import json_response, read_stored
from services.gateway.http.handlers.records import numbers
from services.gateway.http.openapi_queries import LIST_QUERY, MAX_LISTED, USUAL_LISTED
from services.gateway.http.prompts import prompts_of
from services.gateway.http.query import bad_value, one_of, parameters, whole_number
from services.gateway.request_context import Caller
from shared.bandit.prompt_kind import kind_name
from shared.bandit.sources import Source
from shared.errors import Forbidden
from shared.request_list import RequestList
from shared.schemas.ids import may_be_own_id, session_hash
from shared.schemas.records import Status, StoredRequest

TIMEOUT_S = 3.0
CHUNK = 100
"""Requests that a filter reads from Redis in one step: about 1 MB."""

MAX_READ = 1000
"""Most requests that one call reads; a rare match may need further calls."""

_KIND = re.compile(r"\d{1,9}\.\d{1,9}")
_OWNER = re.compile(r"[0-9a-f]{16}|public")

Filter = Callable[[StoredRequest], bool]


async def request_list(request: web.Request) -> web.Response:
    """Show the latest requests that match the filters, and the cursor of the next page."""
    given = parameters(request.query, LIST_QUERY)
    limit = whole_number(given, "limit", default=USUAL_LISTED, low=1, high=MAX_LISTED)
    before, matches = given.get("before", ""), _filter(given)
    if before and not may_be_own_id(before):
        raise bad_value("before", "`next` of another page")
    owner = _owner(given, request[REQUEST_CONTEXT].caller)
    finding = _find(request.app[REQUEST_LIST], owner, before, limit, matches)
    found, following = await read_stored(finding, "Records", TIMEOUT_S)
    state, texts = await prompts_of(request, [stored.record.id for stored in found])
    return json_response(
        {
            "object": "list",
            "data": [_item(stored) | {"prompt": texts.get(stored.record.id)} for stored in found],
            "next": following,
            "prompts": state,
        }
    )


def _owner(given: Mapping[str, str], caller: Caller) -> str | None:
    """Return the owner whose requests are listed; None for all. Raises InvalidRequest or Forbidden."""
    wanted = given.get("owner")
    if wanted is None or wanted == caller.owner:
        return wanted or caller.scope
    if not caller.admin:
        raise Forbidden("Requests of other keys are shown to admin keys only.", code="admin_key_required")
    if _OWNER.fullmatch(wanted) is None:
        raise bad_value("owner", "the first 16 digits of the SHA-256 of a key, or `public`")
    return wanted


async def _find(
    listed: RequestList, owner: str | None, before: str, limit: int, matches: Filter | None
) -> tuple[list[StoredRequest], str | None]:
    """Return matching requests, and the cursor of the next page; None at the end of the list."""
    found: list[StoredRequest] = []
    step = limit + 1 if matches is None else CHUNK
    for _ in range(max(1, MAX_READ // step)):
        page = await listed.page(owner, before=before, limit=step)
        found += [stored for stored in page.requests if matches is None or matches(stored)]
        if len(found) > limit:
            return found[:limit], found[limit - 1].record.id
        if not page.last:
            return found, None
        before = page.last
    return found, before


def _filter(given: Mapping[str, str]) -> Filter | None:
    """Return the filter that a query asks for; None for all requests. Raises InvalidRequest."""
    status, rated = one_of(given, "status", tuple(Status)), one_of(given, "rated", ("1", "0"))
    kind, arm, session = given.get("kind"), given.get("arm"), given.get("session")
    if kind is not None and _KIND.fullmatch(kind) is None:
        raise bad_value("kind", "the id of a kind of prompt, such as 1.7")
    tests: list[Filter] = []
    if arm is not None:
        tests.append(lambda stored: stored.record.outcome.arm == arm)
    if kind is not None:
        tests.append(lambda stored: _kind(stored) == kind)
    if status is not None:
        tests.append(lambda stored: stored.record.outcome.status == status)
    if rated is not None:
        tests.append(lambda stored: (stored.rating is not None) == (rated == "1"))
    if session is not None:
        sessions = {session, session_hash(session)}
        tests.append(lambda stored: stored.record.session in sessions)
    return (lambda stored: all(test(stored) for test in tests)) if tests else None


def _kind(stored: StoredRequest) -> str | None:
    """Return the kind of the prompt: the one it is counted in, or until then the one it was decided by."""
    kind = stored.kind or stored.record.decision.cluster
    return None if kind is None else kind_name(kind)


def _item(stored: StoredRequest) -> dict[str, Any]:
    record, decision = stored.record, stored.record.decision
    return {
        "object": "request",
        "id": record.id,
        "created_at": record.created_at,
        "owner": record.owner,
        "session": record.session,
        "requested_model": record.requested_model,
        "prompt_kind": _kind(stored),
        "decision": {
            "kind": decision.kind,
            "model": decision.arm,
            "propensity": decision.propensity,
            "confidence": decision.confidence,
            "explored": decision.explored,
            "session_held": decision.session,
            "degraded": list(decision.degraded),
        },
        "streamed": record.outcome.streamed,
        "attempts": len(record.outcome.attempts),
        "failed_checks": record.outcome.failed_checks,
        "scores": _scores(stored),
        **numbers(stored),
    }


def _scores(stored: StoredRequest) -> dict[str, float]:
    """Return the score by each source that has one; the judge's is that of the evaluation, where there is one."""
    scores = {source.value: rating.score for source, rating in stored.scores.items()}
    if stored.rating is not None:
        scores[Source.USER.value] = stored.rating.score
    judged = None if stored.evaluation is None else stored.evaluation.served_score
    if judged is not None:
        scores[Source.JUDGE.value] = judged
    return scores
