"""`POST /feedback` with a key, and `/feedback/{token}`, a signed link that needs none."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence

import orjson
from aiohttp import hdrs, web

from services.gateway.http.app_keys import FEEDBACK, LINKS, REQUEST_CONTEXT, SETTINGS
from services.gateway.http.handlers import json_response
from services.gateway.http.request_body import is_form, read_body
from shared.bandit.sources import Source
from shared.errors import ClientError, Forbidden, InvalidRequest, Unavailable
from shared.schemas.feedback import MAX_FEEDBACK_BYTES, FeedbackRequest, parse_feedback, parse_rating
from shared.schemas.problem import error_reply
from shared.schemas.storage import RatingTerms, Verdict

IDEMPOTENCY_KEY = "Idempotency-Key"
BATCH_TIMEOUT_S = 10.0
"""Of a list of ratings: while Redis does not answer, each of them waits."""

_KEY = re.compile(r"[ -~]{1,255}")


async def feedback(request: web.Request) -> web.Response:
    """Accept a rating, of a request or a session; 202 promises that it changes the posterior exactly once.

    A list of ratings is answered by 207, with a status for each.
    """
    parsed = parse_feedback(await read_body(request, request.app[SETTINGS], most=MAX_FEEDBACK_BYTES))
    key = _idempotency_key(request)
    if isinstance(parsed, FeedbackRequest):
        return json_response(await _accept(request, parsed, key), 202)
    return json_response({"object": "list", "data": await _accept_each(request, parsed, key)}, 207)


async def _accept(request: web.Request, rating: FeedbackRequest, key: str | None) -> dict[str, object]:
    """Record one rating; return the body of its response."""
    caller = request[REQUEST_CONTEXT].caller
    if rating.source is not Source.USER and not caller.any_source:
        raise Forbidden(
            "Scores of this source need an admin key, or a key named in FEEDBACK_SOURCE_KEYS.",
            code="source_not_allowed",
            param="source",
        )
    per_minute = request.app[SETTINGS].FEEDBACK_RPM
    terms = RatingTerms(caller.owner, idempotency_key=key, per_minute=per_minute, source=rating.source)
    if rating.session_id is None:
        return _accepted(rating, await _record(request, rating, caller.scope, terms))
    verdicts = await request.app[FEEDBACK].record_session(rating, owner=caller.owner, terms=terms)
    duplicate = all(verdict is Verdict.DUPLICATE for verdict in verdicts)
    named = {"session_id": rating.session_id, "requests": len(verdicts)}
    return {"status": "accepted", **named, "duplicate": duplicate}


async def _accept_each(
    request: web.Request, ratings: Sequence[FeedbackRequest | ClientError], key: str | None
) -> list[dict[str, object]]:
    """Record ratings in their order; return the status and the body of each."""
    results: list[dict[str, object]] = []
    until = asyncio.get_running_loop().time() + BATCH_TIMEOUT_S
    for number, rating in enumerate(ratings):
        try:
            if isinstance(rating, ClientError):
                raise rating
            if asyncio.get_running_loop().time() > until:
                raise Unavailable("There was no time for this rating.", code="feedback_unavailable", retry_after_s=1.0)
            body = await _accept(request, rating, key and f"{key}:{number}")
            results.append({"status_code": 202, **body})
        except ClientError as error:
            reply = error_reply(error)
            results.append({"status_code": reply.status, **orjson.loads(reply.body)})
    request[REQUEST_CONTEXT].log_fields["ratings"] = len(results)
    return results


async def rate_by_link(request: web.Request) -> web.Response:
    """Accept a rating by a signed link, once; from a program, or from the form of `show_form`."""
    own_id = request.app[LINKS].own_id(request.match_info["token"])
    raw = await read_body(request, request.app[SETTINGS], most=MAX_FEEDBACK_BYTES, or_form=True)
    rating = parse_rating(raw, own_id, form=is_form(request))
    verdict = await _record(request, rating, None, RatingTerms(rater="link", by_link=True))
    return _page("<p>Thank you.</p>") if is_form(request) else json_response(_accepted(rating, verdict), 202)


async def show_form(request: web.Request) -> web.Response:
    """Show the form behind a link. A GET changes nothing: mail programs open links without a click."""
    request.app[LINKS].own_id(request.match_info["token"])
    return _page(_FORM)


async def _record(request: web.Request, rating: FeedbackRequest, owner: str | None, terms: RatingTerms) -> Verdict:
    log_fields = request[REQUEST_CONTEXT].log_fields
    log_fields.update(rated=rating.request_id, score=rating.score)
    verdict = await request.app[FEEDBACK].record(rating, owner=owner, terms=terms)
    log_fields["verdict"] = verdict.value
    return verdict


def _idempotency_key(request: web.Request) -> str | None:
    sent = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not sent:
        return None
    if len(sent) > 1 or _KEY.fullmatch(sent[0]) is None:
        raise InvalidRequest(
            "The header must be sent once, with 1 to 255 printable characters.",
            code="invalid_value",
            param=IDEMPOTENCY_KEY,
        )
    return hashlib.sha256(sent[0].encode()).hexdigest()


def _accepted(rating: FeedbackRequest, verdict: Verdict) -> dict[str, object]:
    return {"status": "accepted", "request_id": rating.request_id, "duplicate": verdict is Verdict.DUPLICATE}


_FORM = """<h1>How good was the answer?</h1><form method="post">
<p><input name="feedback_text" maxlength="2000" placeholder="In words, if you like" size="40"></p>
<p><button name="score" value="1">Perfect</button> <button name="score" value="0.75">Good</button>
<button name="score" value="0.5">So-so</button> <button name="score" value="0.25">Poor</button>
<button name="score" value="0">Useless</button></p></form>"""


def _page(content: str) -> web.Response:
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Feedback</title>{content}</html>'
    headers = {
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        hdrs.REFERRER_POLICY: "no-referrer",
        hdrs.CACHE_CONTROL: "no-store",
    }
    return web.Response(text=text, content_type="text/html", headers=headers)
