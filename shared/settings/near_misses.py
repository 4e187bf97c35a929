"""Detection of mistyped setting names in the environment.

Other programs use the environment, too, so an unknown name is not an error. A name that nearly matches a setting stops
the start: otherwise its value would be ignored silently, and API_KEY for API_KEYS would leave the gateway open. It does
not stop the start if

- the setting in question has a value itself: then the other name belongs to another program;
- the setting's name is one word (HOST, PORT): too many names are similar;
- the name is known to belong to another program.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_NEAR = 0.88
_OTHERS = frozenset({"LOGLEVEL"})
_OTHERS_PREFIXES = ("OTEL_", "COMPOSE_")
"""OpenTelemetry's libraries read dozens of variables besides OTEL_EXPORTER_OTLP_ENDPOINT."""


def near_misses(names: Iterable[str], settings: Collection[str], *, given: Collection[str]) -> dict[str, str]:
    """Return mistyped names, each with the setting that was probably meant; `given` settings have a value."""
    found: dict[str, str] = {}
    distinctive = [setting for setting in settings if "_" in setting]
    for name in names:
        if name in settings or name in _OTHERS or name.startswith(_OTHERS_PREFIXES):
            continue
        # Lower case, or hyphens as in many YAML files, is the same mistake.
        close = difflib.get_close_matches(name.upper().replace("-", "_"), distinctive, n=1, cutoff=_NEAR)
        if close and close[0] not in given:
            found[name] = close[0]
    return found
