"""Loading of the settings: defaults < CONFIG_FILE < `.env` < environment.

A `CONFIG_FILE` is flat YAML with the variables' names as keys, so the same file is valid for
`docker compose --env-file`. An unknown name, a wrong type or a value out of range is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from shared.errors import SettingsError
from shared.settings.explain import explain
from shared.settings.model import Settings
from shared.settings.sources import gather


def load_settings(environment: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the settings. Raises SettingsError with every problem found, one a line."""
    known = Settings.model_fields
    values, problems = gather(os.environ if environment is None else environment, dotenv, known)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [explain(problem, known, values) for problem in error.errors()]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
