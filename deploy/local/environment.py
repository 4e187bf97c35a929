"""Environment of the services: the user's settings, and what MODELS_FILE refers to."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from shared.models_file import models_of
from shared.settings import Settings, variables
from shared.settings.load import variables_in


def models_file_environment(settings: Settings, path: Path) -> dict[str, str]:
    """Return MODELS_FILE with its variables. Raises SettingsError where the file is not valid.

    The services run in another folder, and read no `.env`.
    """
    known, referred = variables(), variables_in(path)
    models_of(settings, known)
    return {name: known[name] for name in referred if name in known} | {"MODELS_FILE": str(path.resolve())}


def explicit_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that the user set (environment, .env or CONFIG_FILE) as environment variables."""
    return {name: _as_text(getattr(settings, name)) for name in sorted(settings.model_fields_set)}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(_as_text(item) for item in value)
    return "" if value is None else str(value)
