"""Parser of `GET /models` of upstreams: OpenAI's and OpenRouter's shape, and other common ones.

| shape | seen at |
|---|---|
| `{"data": [{"id": ...}]}` | OpenAI, OpenRouter, vLLM |
| `[{"id": ...}]` | Together |
| `{"models": [{"name": ...}]}` or `{"model": ...}` | Ollama, Google, Cohere |
| `{"some/model": {...}}`, also within `data` or `models` | lists by id |

An unreadable entry is dropped alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.bandit.arms import Arm
from shared.clients.answers import BadAnswer
from shared.clients.listed_models import arm_of

_WRAPPERS = ("data", "models")
_NAMES = ("name", "model")


def arms_of(body: object) -> tuple[Arm, ...]:
    """Return the models of a list in any of the shapes above. Raises BadAnswer."""
    arms = [arm for entry in _entries(body) if (arm := arm_of(_with_id(entry))) is not None]
    return tuple({arm.id: arm for arm in arms}.values())


def _entries(body: object) -> Iterable[Mapping[str, Any]]:
    """Return the entries that are objects. Raises BadAnswer where there is no list."""
    listed = body
    if isinstance(body, dict):
        wrapper = next((name for name in _WRAPPERS if name in body), None)
        if wrapper is not None:
            listed = [] if body[wrapper] is None else body[wrapper]  # null: Ollama without a model
        elif not body or "error" in body or not all(isinstance(entry, dict) for entry in body.values()):
            raise BadAnswer("no list of models")
    if isinstance(listed, dict):
        return [{"id": name, **entry} for name, entry in listed.items() if isinstance(entry, dict)]
    if not isinstance(listed, list):
        raise BadAnswer("no list of models")
    return [entry for entry in listed if isinstance(entry, dict)]


def _with_id(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry with another name of the model as its id, where it has none."""
    if isinstance(entry.get("id"), str):
        return entry
    name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    return {**entry, "id": name}
