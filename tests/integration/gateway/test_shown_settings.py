"""`GET /settings`: values in effect, masked, with their sources, for operators."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.http.openapi_views import SETTINGS
from shared.redaction import MASK
from shared.settings import Settings
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.integration.gateway.test_shown_kinds import ADMIN, USER
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving


@pytest.mark.parametrize("path", ["/settings", "/v1/settings"])
async def test_every_setting_is_shown_with_its_source_and_no_secret(tmp_path: Path, path: str) -> None:
    """Keys and passwords in addresses are masked, wherever they stand."""
    secrets = {"REDIS_URL": "redis://me:pass-of-redis@127.0.0.1:1/0", "OPENROUTER_API_KEY": "sk-or-secret-1234"}
    world = World(settings_for(tmp_path / "spool", COST_WEIGHT=-0.2, API_KEYS=USER, ADMIN_API_KEYS=ADMIN, **secrets))
    async with serving(world) as client:
        status, content, _ = await ask(client, path, **bearer(ADMIN))
    assert status == 200
    assert faults(content, closed(SETTINGS)) == []
    shown = {one["name"]: one for one in content["data"]}
    assert set(shown) == set(Settings.model_fields)
    cost = shown["COST_WEIGHT"]
    assert (cost["value"], cost["source"]) == ("-0.2", "environment")
    assert cost["default"] == str(Settings.model_fields["COST_WEIGHT"].default)
    assert (shown["RETRY_BUDGET"]["value"], shown["RETRY_BUDGET"]["source"]) == ("0.2", "default")
    assert [shown[name]["value"] for name in ("API_KEYS", "OPENROUTER_API_KEY")] == [MASK, MASK]
    assert not any(secret in str(content) for secret in ("pass-of-redis", "sk-or-secret", ADMIN, USER))


async def test_with_admin_keys_only_they_may_read_settings(tmp_path: Path) -> None:
    """A user's key is refused, and a request without one is asked for it."""
    async with serving(World(settings_for(tmp_path / "spool", API_KEYS=USER, ADMIN_API_KEYS=ADMIN))) as client:
        status, content, _ = await ask(client, "/settings", **bearer(USER))
        assert (status, content["error"]["code"]) == (403, "admin_key_required")
        assert (await ask(client, "/settings"))[0] == 401
