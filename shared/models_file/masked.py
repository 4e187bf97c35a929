"""MODELS_FILE as text for `--check-config`: one value a line, keys and headers masked."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from shared.models_file.schema import ModelsFile
from shared.settings.explain import masked


def masked_lines(file: ModelsFile) -> list[str]:
    """Return every value that is not empty, as `upstreams.openai.api_key=********`."""
    models = {model.id: model for model in file.models}
    sections = {"upstreams": file.upstreams, "models": models, "policies": file.policies}
    return [f"{name}={masked(value)}" for name, value in _leaves(sections, "")]


def _leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    parts = dict(value) if isinstance(value, BaseModel | dict) else None
    if parts is None:
        yield name, value
        return
    for key, part in parts.items():
        if part not in (None, (), {}):
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
