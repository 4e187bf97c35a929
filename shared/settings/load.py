"""Loading of the settings: defaults < CONFIG_FILE < `.env` < environment.

A `CONFIG_FILE` is flat YAML with the variables' names as keys, so the same file is valid for
`docker compose --env-file`. Everything is read as text, so that a value means the same in each place. An unknown name,
a wrong type or a value out of range is refused.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from shared.errors import SettingsError
from shared.settings.dotenv_file import read_dotenv
from shared.settings.explain import explain
from shared.settings.model import Settings
from shared.settings.near_misses import near_misses
from shared.settings.sources import SettingSource
from shared.settings.text import BadText, clean, stripped

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
"""Settings whose name may be in lower case in the environment."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)", re.ASCII)


def load_settings(environment: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the settings. Raises SettingsError with every problem found, one a line."""
    known = Settings.model_fields
    values, sources, problems = gather(os.environ if environment is None else environment, dotenv, known)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [explain(problem, known, values) for problem in error.errors()]
    if problems:
        raise SettingsError("\n".join(problems))
    settings.note_sources(sources)
    return settings


def gather(
    environment: Mapping[str, str], dotenv: Path | None, known: Collection[str]
) -> tuple[dict[str, str], dict[str, SettingSource], list[str]]:
    """Return the value of each variable by precedence, its source, and the problems that concern no single value.

    Raises SettingsError where a file cannot be read.
    """
    from_dotenv = read_dotenv(dotenv, environment) if dotenv is not None and dotenv.is_file() else {}
    named = environment.get("CONFIG_FILE") or from_dotenv.pop("CONFIG_FILE", "")
    from_dotenv.pop("CONFIG_FILE", None)
    try:
        config_file = clean(named)
    except BadText as error:
        raise SettingsError(f"CONFIG_FILE: this path is not allowed: {error}") from None
    from_file = read_file(Path(config_file)) if config_file else {}
    from_environment = {name: value for name, value in environment.items() if name in known}
    # As in curl and Python, the lower-case name has precedence, even if its value is empty.
    from_environment |= {name: environment[name.lower()] for name in PROXIES if name.lower() in environment}
    # An empty value means unset: compose passes `${X:-}` for everything that is not given.
    given = {
        SettingSource.CONFIG_FILE: from_file,
        SettingSource.DOTENV: from_dotenv,
        SettingSource.ENVIRONMENT: from_environment,
    }
    found = [
        (name, value, source)
        for source, named in given.items()
        for name, value in named.items()
        if stripped(value) and name in known
    ]
    values, sources = {name: value for name, value, _ in found}, {name: source for name, _, source in found}
    if values.get("MODELS_FILE"):  # its keys may stand in `.env`
        referred = variables_in(Path(stripped(values["MODELS_FILE"])))
        from_dotenv = {name: value for name, value in from_dotenv.items() if name not in referred}
    problems = [
        *_unknown(from_file, f"CONFIG_FILE {config_file}", known),
        *_unknown(from_dotenv, str(dotenv), known),
    ]
    named_others = [name for name, value in environment.items() if stripped(value)]
    problems += [
        f"{name} in the environment is not a setting; did you mean {meant}?"
        for name, meant in near_misses(named_others, known, given=values).items()
    ]
    return values, sources, problems


def variables_in(models_file: Path) -> frozenset[str]:
    """Return the names of the variables that MODELS_FILE refers to; none where it cannot be read."""
    try:
        return frozenset(_VARIABLE.findall(models_file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return frozenset()


def variables(environment: Mapping[str, str] | None = None, dotenv: Path = Path(".env")) -> dict[str, str]:
    """Return the variables of `.env` and of the environment, for `${NAME}` in MODELS_FILE. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    return {**(read_dotenv(dotenv, environment) if dotenv.is_file() else {}), **environment}


def _unknown(source: Mapping[str, str], place: str, known: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each name in a file that is not a setting."""
    for name, value in source.items():
        if name not in known and stripped(value):
            closest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            shown = name if name.isprintable() else ascii(name)
            yield f"{shown} in {place} is not a setting" + (f"; did you mean {closest[0]}?" if closest else "")


def read_file(path: Path) -> dict[str, str]:
    """Read flat YAML, one `NAME: value` a line. Raises SettingsError without quoting the file: it may hold secrets."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"CONFIG_FILE {path} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"CONFIG_FILE {path}{line} is not YAML, one `NAME: value` a line") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(f"CONFIG_FILE {path} must be flat YAML, one `NAME: value` a line")
    values: dict[str, str] = {}
    for name, value in root.value:
        where = f"CONFIG_FILE {path}, line {name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise SettingsError(f"{where}: write `NAME: value`; a list is one value with commas: `a,b`")
        if name.value in values:
            raise SettingsError(f"{where}: {name.value} is set twice")
        values[name.value] = "" if value.tag.endswith(":null") else value.value
    return values
