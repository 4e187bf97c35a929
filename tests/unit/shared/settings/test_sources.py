"""Sources of the settings' values."""

from __future__ import annotations

from pathlib import Path

from shared.settings import load_settings
from shared.settings.sources import SettingSource


def test_the_source_is_the_place_that_the_value_in_effect_came_from(tmp_path: Path) -> None:
    """The strongest that names it; an empty value is as if it was not there."""
    file, dotenv = tmp_path / "config.yaml", tmp_path / ".env"
    file.write_text("PORT: 1001\nLOG_LEVEL: error\nCOST_WEIGHT: -0.5\n")
    dotenv.write_text("PORT=1002\nLOG_LEVEL=warn\n")
    environment = {"CONFIG_FILE": str(file), "PORT": "1003", "LOG_LEVEL": ""}
    settings = load_settings(environment, dotenv)
    assert {name: settings.source_of(name) for name in ("PORT", "LOG_LEVEL", "COST_WEIGHT", "HOST")} == {
        "PORT": SettingSource.ENVIRONMENT,
        "LOG_LEVEL": SettingSource.DOTENV,
        "COST_WEIGHT": SettingSource.CONFIG_FILE,
        "HOST": SettingSource.DEFAULT,
    }
    assert (settings.PORT, settings.LOG_LEVEL, settings.COST_WEIGHT) == (1003, "warn", -0.5)
    assert settings.model_copy(update={"PORT": 1}).source_of("LOG_LEVEL") is SettingSource.DOTENV
