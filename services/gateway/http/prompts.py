"""Stored texts of prompts, for those who may see the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from services.gateway.http.app_keys import PROMPTS, REQUEST_CONTEXT
from shared.errors import DependencyError


async def prompts_of(request: web.Request, own_ids: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """Return whether prompts are `stored`, `not_stored` or `unavailable`, and those the caller may see, by own id."""
    store, caller = request.app[PROMPTS], request[REQUEST_CONTEXT].caller
    if store is None:
        return "not_stored", {}
    try:
        return "stored", await store.texts(own_ids, owner=caller.scope)
    except DependencyError:
        return "unavailable", {}
