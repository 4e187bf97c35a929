"""Settings check: values that are valid one by one, and not together."""

from __future__ import annotations

import pytest

from services.gateway.process.settings_check import check_settings
from shared.errors import SettingsError
from shared.settings import load_settings


@pytest.mark.parametrize(
    ("host", "needed"),
    [("openrouter.ai", True), ("eu.openrouter.ai", True), ("notopenrouter.ai", False), ("openrouter.ai.test", False)],
)
def test_a_key_is_needed_for_the_hosts_of_openrouter(host: str, needed: bool) -> None:
    """Also for its regions, and not for a host whose name only looks like it."""
    settings = load_settings({"OPENROUTER_BASE_URL": f"https://{host}/v1"}, None)
    if needed:
        with pytest.raises(SettingsError, match="OPENROUTER_API_KEY is required"):
            check_settings(settings)
    else:
        check_settings(settings)
