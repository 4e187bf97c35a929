"""Names in the environment that look like a setting mistyped.

The environment belongs to other programs, too, so a name that is no setting is no error in itself. One that is nearly a
setting's stops the start: what it was to change would silently not change, and API_KEY for API_KEYS would leave the
gateway open. It does not stop where

- the setting that is meant has a value itself: then the other name is somebody else's;
- the setting's name is one word (HOST, PORT): too many names are near it;
- other programs are known to read the name.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_NEAR = 0.88
_OTHERS = frozenset({"LOGLEVEL"})
_OTHERS_PREFIXES = ("OTEL_", "COMPOSE_")
"""OpenTelemetry's libraries read dozens of their own beside OTEL_EXPORTER_OTLP_ENDPOINT."""


def near_misses(names: Iterable[str], settings: Collection[str], *, given: Collection[str]) -> dict[str, str]:
    """Return the names that stop the start, each with the setting that was probably meant; `given` have a value."""
    found: dict[str, str] = {}
    distinctive = [setting for setting in settings if "_" in setting]
    for name in names:
        if name in settings or name in _OTHERS or name.startswith(_OTHERS_PREFIXES):
            continue
        # In lower case, or with hyphens as in many YAML files, it is as much of a mistake.
        close = difflib.get_close_matches(name.upper().replace("-", "_"), distinctive, n=1, cutoff=_NEAR)
        if close and close[0] not in given:
            found[name] = close[0]
    return found
