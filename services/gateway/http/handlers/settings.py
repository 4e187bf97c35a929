"""`GET /settings`: the settings in effect, secrets masked, each with its source."""

from __future__ import annotations

from aiohttp import web

from services.gateway.http.app_keys import SETTINGS
from services.gateway.http.handlers import json_response
from shared.settings import Settings
from shared.settings.explain import masked


async def settings_in_effect(request: web.Request) -> web.Response:
    """Show each setting: value and default as text, source, description."""
    settings = request.app[SETTINGS]
    values = settings.masked()
    return json_response(
        {
            "object": "list",
            "data": [
                {
                    "object": "setting",
                    "name": name,
                    "value": values[name],
                    "default": masked(field.default),
                    "source": settings.source_of(name),
                    "description": field.description,
                }
                for name, field in Settings.model_fields.items()
            ],
        }
    )
