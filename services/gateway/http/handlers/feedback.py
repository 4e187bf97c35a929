"""`POST /feedback` with a key, and `/feedback/{token}`, a signed link that needs none."""

from __future__ import annotations

import hashlib
import re

from aiohttp import hdrs, web

from services.gateway.http.app_keys import FEEDBACK, LINKS, REQUEST_CONTEXT, SETTINGS
from services.gateway.http.handlers import json_response
from services.gateway.http.request_body import is_form, read_body
from shared.errors import InvalidRequest
from shared.schemas.feedback import MAX_FEEDBACK_BYTES, FeedbackRequest, parse_feedback, parse_rating
from shared.schemas.storage import RatingTerms, Verdict

IDEMPOTENCY_KEY = "Idempotency-Key"
_KEY = re.compile(r"[ -~]{1,255}")


async def feedback(request: web.Request) -> web.Response:
    """Accept a rating; 202 promises that it changes the posterior exactly once."""
    settings, caller = request.app[SETTINGS], request[REQUEST_CONTEXT].caller
    rating = parse_feedback(await read_body(request, settings, most=MAX_FEEDBACK_BYTES))
    terms = RatingTerms(rater=caller.owner, idempotency_key=_idempotency_key(request), per_minute=settings.FEEDBACK_RPM)
    return _json(rating, await _record(request, rating, caller.scope, terms))


async def rate_by_link(request: web.Request) -> web.Response:
    """Accept a rating by a signed link, once; from a program, or from the form of `show_form`."""
    own_id = request.app[LINKS].own_id(request.match_info["token"])
    raw = await read_body(request, request.app[SETTINGS], most=MAX_FEEDBACK_BYTES, or_form=True)
    rating = parse_rating(raw, own_id, form=is_form(request))
    verdict = await _record(request, rating, None, RatingTerms(rater="link", by_link=True))
    return _page("<p>Thank you.</p>") if is_form(request) else _json(rating, verdict)


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


def _json(rating: FeedbackRequest, verdict: Verdict) -> web.Response:
    body = {"status": "accepted", "request_id": rating.request_id, "duplicate": verdict is Verdict.DUPLICATE}
    return json_response(body, 202)


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
