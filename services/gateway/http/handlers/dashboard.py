"""`GET /ui`: the dashboard's page and its files. They hold no data: the page reads the JSON API with the user's key."""

from __future__ import annotations

from aiohttp import hdrs, web

from services.gateway.dashboard.files import INDEX, PageFile
from services.gateway.http.app_keys import DASHBOARD
from shared.errors import NotFound

POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy: own files only, no inline script or style, no eval, no frame."""


async def page(request: web.Request) -> web.Response:
    """Return the page."""
    return _respond(request, request.app[DASHBOARD][INDEX])


async def file(request: web.Request) -> web.Response:
    """Return a script, a style sheet or a licence of the page."""
    found = request.app[DASHBOARD].get(request.match_info["file"])
    if found is None:
        raise NotFound("The dashboard has no such file.", code="not_found")
    return _respond(request, found)


def _respond(request: web.Request, found: PageFile) -> web.Response:
    """Return the file, or 304 where the browser has this version; it asks each time, so an upgrade shows."""
    headers = {
        "Content-Security-Policy": POLICY,
        hdrs.REFERRER_POLICY: "no-referrer",
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.ETAG: f'"{found.etag}"',
    }
    if any(tag.value == found.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, headers=headers | {hdrs.CONTENT_TYPE: found.content_type})
