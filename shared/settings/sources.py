"""Sources of the settings' values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, PrivateAttr


class SettingSource(StrEnum):
    """Place that the value of a setting comes from, weakest first."""

    DEFAULT = "default"
    CONFIG_FILE = "config_file"
    DOTENV = "dotenv"
    ENVIRONMENT = "environment"


class SourcedSettings(BaseModel):
    """Settings that know where their values come from."""

    _sources: Mapping[str, SettingSource] = PrivateAttr(default_factory=dict)

    def note_sources(self, sources: Mapping[str, SettingSource]) -> None:
        """Set the source of each value that is not a default."""
        self._sources = dict(sources)

    def source_of(self, name: str) -> SettingSource:
        """Return the source of the value of a setting."""
        return self._sources.get(name, SettingSource.DEFAULT)
