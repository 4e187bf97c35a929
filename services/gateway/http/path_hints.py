"""Messages of 404 and 405 responses, with the path or method that the client probably meant.

A wrong base URL (`/v1/v1/…`, `/api/v1/…`, `/v1//…`, no `/v1`) still ends in a path of the router. Other paths belong to
APIs that the router does not have, or are misspelt.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from aiohttp import hdrs, web

from services.gateway.http.routes import API, PREFIX, all_routes

CHAT = "/chat/completions"
_OTHER_APIS = {
    "responses": "The API of stored responses",
    "messages": "The API of message batches",
    "completions": "The legacy completions API",
    "complete": "The legacy completions API",
    "engines": "The legacy completions API",
    "assistants": "The Assistants API",
    "threads": "The Assistants API",
    "images": "The images API",
    "audio": "The audio API",
    "moderations": "The moderations API",
    "generate": "Ollama's API",
    "chat": "",
}
"""Names of other APIs by the first segment of their paths."""

_PREFIXES = frozenset({"api", "v1", "v2", "openai", "openrouter"})
_SAFE_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_SEGMENT = 40
_SHOWN = 120


def _patterns(routes: Iterable[web.RouteDef]) -> dict[str, re.Pattern[str]]:
    """Return the pattern of each path."""
    plain = re.compile(r"\\\{[a-z_]+(:\\\.\\\+|:\.\\\+)?\\\}")
    return {
        route.path: re.compile(plain.sub(lambda found: ".+" if found[1] else "[^/]+", re.escape(route.path)))
        for route in routes
    }


_PATHS = _patterns(all_routes())
_METHODS = {path: sorted({route.method for route in all_routes() if route.path == path}) for path in _PATHS}
_VERSIONED = frozenset(route.path for route in API)


def hint(request: web.Request) -> str:
    """Return the message for a request that matched no route."""
    if isinstance(request.match_info.http_exception, web.HTTPMethodNotAllowed):
        allowed = sorted(request.match_info.http_exception.allowed_methods - {hdrs.METH_HEAD})
        return f"This path does not take that method: use {' or '.join(allowed)}."
    path, what = _meant(request.path), "There is nothing at this path."
    if path is None:
        other = _OTHER_APIS.get(_first_segment(request.path))
        if other is None:
            return f"{what} GET /docs lists those that exist."
        own = "/" + _first_segment(request.path)
        path, what = own if own in _VERSIONED else CHAT, f"{what} {other} is not offered." if other else what
    methods = _METHODS[path]
    method = request.method if request.method in methods else methods[0]
    shown = PREFIX + path if path in _VERSIONED else path
    return f"{what} Did you mean {method} {shown}?{_advice(request, path)}"


def shown_path(path: str) -> str:
    """Return a path for the log: printable ASCII, bounded, without segments so long that they may be keys."""
    segments = ["(long)" if len(segment) > _SEGMENT else segment for segment in path.split("/")]
    text = re.sub(r"[^!-~]", "?", "/".join(segments))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _meant(path: str) -> str | None:
    """Return the route after wrong prefixes are removed, or one that is spelt almost the same."""
    segments = [segment for segment in path.split("/") if segment][:8]
    while segments:
        rest = "/" + "/".join(segments)
        found = next((known for known, pattern in _PATHS.items() if pattern.fullmatch(rest)), None)
        if found is not None:
            return found.removeprefix(PREFIX) if found.removeprefix(PREFIX) in _VERSIONED else found
        if segments[0].lower() not in _PREFIXES:
            break
        segments = segments[1:]
    if _first_segment(path) in _OTHER_APIS:
        return None
    close = difflib.get_close_matches("/" + "/".join(segments)[:_SEGMENT], list(_PATHS), n=1, cutoff=0.8)
    return close[0].removeprefix(PREFIX) if close and close[0].removeprefix(PREFIX) in _VERSIONED else None


def _first_segment(path: str) -> str:
    """Return the first segment that is not a common prefix."""
    segments = [segment.lower() for segment in path.split("/") if segment]
    return next((segment for segment in segments if segment not in _PREFIXES), "")


def _advice(request: web.Request, path: str) -> str:
    """Return the base URL that a client needs for a path of the API; Anthropic's clients add the version themselves."""
    if path not in _VERSIONED:
        return ""
    client, prefix = ("Anthropic", "") if path.startswith("/messages") else ("OpenAI", PREFIX)
    host = request.headers.get(hdrs.HOST, "")
    known = _SAFE_HOST.fullmatch(host) is not None
    base = f"http://{host}{prefix}" if known else f"this server's address{f' and {prefix}' if prefix else ''}"
    return f" For an {client} client, set the base URL to {base}."
