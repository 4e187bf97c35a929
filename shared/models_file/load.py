"""Loading of MODELS_FILE: every problem with file, line, field and value; keys never shown."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from shared.bandit.free_arms import FREE
from shared.bandit.variants import base_of
from shared.errors import SettingsError
from shared.models_file.schema import ListedModel, ModelsFile, Policy, Upstream
from shared.models_file.yaml_text import Path_, YamlText
from shared.schemas.terms import AUTO
from shared.settings import Settings
from shared.settings.explain import Said, allowed, shown
from shared.settings.text import BadText

OPENROUTER = "openrouter"
"""Name of the upstream that the settings OPENROUTER_BASE_URL and OPENROUTER_API_KEY describe."""

MAX_PROBLEMS = 20


def models_of(settings: Settings, variables: Mapping[str, str]) -> ModelsFile:
    """Return what MODELS_FILE says, or without one what the settings say. Raises SettingsError with every problem."""
    if settings.MODELS_FILE is None:
        return ModelsFile(upstreams={OPENROUTER: _of_settings(settings)})
    if "LLM_MODELS" in settings.model_fields_set:
        raise SettingsError("LLM_MODELS and MODELS_FILE are both set: name the models in `models` of the file alone.")
    return load_models_file(settings.MODELS_FILE, variables)


def _of_settings(settings: Settings) -> Upstream:
    return Upstream(base_url=settings.OPENROUTER_BASE_URL, api_key=settings.OPENROUTER_API_KEY)


def load_models_file(path: Path, variables: Mapping[str, str]) -> ModelsFile:
    """Return the validated file. Raises SettingsError with every problem found, one a line."""
    text = YamlText(path, variables)
    if not isinstance(text.root, dict):
        raise SettingsError(f"MODELS_FILE {path} must be YAML with `upstreams`, and perhaps `models` and `policies`")
    file = None
    try:
        file = ModelsFile.model_validate(_without_nothing(text.root))
    except ValidationError as error:
        for problem in error.errors():
            _explain(problem, text)
    if file is not None and not text.problems:
        for place, words in _contradictions(file):
            text.problem(place, words)
    if file is None or text.problems:
        raise SettingsError("\n".join(dict.fromkeys(text.problems[:MAX_PROBLEMS])))
    return file


def _without_nothing(tree: Any) -> Any:
    """Return the values that are given: an empty one means the default."""
    if isinstance(tree, dict):
        return {name: _without_nothing(value) for name, value in tree.items() if value is not None}
    return [_without_nothing(value) for value in tree] if isinstance(tree, list) else tree


# -- values ------------------------------------------------------------------------------------------------------------


def _explain(problem: Mapping[str, Any], text: YamlText) -> None:
    place: Path_ = tuple(part for part in problem["loc"] if part != "[key]")
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(place[:-1])
        close = difflib.get_close_matches(str(place[-1]), fields, n=1, cutoff=0.6)
        words = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(fields)}"
        text.problem(place, f"there is no such field; {words}")
        return
    field = _field_at(place)
    if problem["type"] == "missing" or field is None:
        text.problem(place, "it is missing" if problem["type"] == "missing" else "it has another form")
        return
    reason = problem.get("ctx", {}).get("error")
    is_text = not isinstance(problem["input"], dict | list)
    value = f"{shown(str(place[-1]), field, problem['input'])} is not allowed" if is_text else "this is not allowed"
    text.problem(place, f"{value}: {reason}" if isinstance(reason, BadText) else f"{value}; it must be {_form(field)}")


def _form(field: FieldInfo) -> str:
    """Return what a field accepts; `name: value` lines for a section."""
    section = _section_of(field.annotation)
    if section is None or any(isinstance(entry, Said) for entry in field.metadata):
        return allowed(field)
    listed = get_origin(field.annotation) is tuple
    return f"{'a list of entries' if listed else 'lines'} with {', '.join(section.model_fields)}"


def _field_at(place: Path_) -> FieldInfo | None:
    """Return the innermost field of the schema that holds a place."""
    field, section, in_entries = None, _section_of(ModelsFile), False
    for part in place:
        if in_entries:  # the name or the number of an entry
            in_entries = False
        elif section is None or part not in section.model_fields:
            break
        else:
            field = section.model_fields[str(part)]
            section = _section_of(field.annotation)
            in_entries = section is not None and get_origin(field.annotation) in (tuple, dict)
    return field


def _fields_at(place: Path_) -> list[str]:
    """Return the names of the fields of the section at a place."""
    field = _field_at(place)
    section = ModelsFile if field is None else _section_of(field.annotation)
    return [] if section is None else list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds: itself, optional, or as entries of a list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, dict, Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := _section_of(part)) is not None), None)
    return None


# -- values that do not fit together -----------------------------------------------------------------------------------


def _contradictions(file: ModelsFile) -> Iterator[tuple[Path_, str]]:
    for name, upstream in file.upstreams.items():
        yield from (((*("upstreams", name), field), words) for field, words in _key_problems(upstream))
    seen: set[str] = set()
    for number, model in enumerate(file.models):
        if model.upstream is not None and model.upstream not in file.upstreams:
            known = ", ".join(file.upstreams)
            yield ("models", number, "upstream"), f"there is no upstream {model.upstream!r}; there are {known}"
        if model.id == AUTO or model.id.startswith(f"{AUTO}:"):
            yield ("models", number, "id"), f"{model.id} is a name of the router's own"
        if model.id in seen:
            yield ("models", number, "id"), f"{model.id} is the id of another model, too"
        seen.add(model.id)
    for name, policy in file.policies.items():
        yield from ((("policies", name, field), words) for field, words in _policy_problems(policy, file.models))


def _key_problems(upstream: Upstream) -> Iterator[tuple[str, str]]:
    if upstream.api_key is None and upstream.is_openrouter:
        yield "api_key", "it is required for openrouter.ai"
    if upstream.api_key is not None and urlsplit(upstream.base_url).username is not None:
        yield "api_key", "base_url holds a user's name, too: keep one of them"


def _policy_problems(policy: Policy, models: Sequence[ListedModel]) -> Iterator[tuple[str, str]]:
    listed = {model.id: model for model in models}
    names = (*policy.arms, *(() if policy.default is None else (policy.default,)))
    if not listed or FREE in listed:  # any model that an upstream lists may be meant
        return
    for name in names:
        if (base_of(name) or name) not in listed and name not in listed:
            yield "default" if name not in policy.arms else "arms", f"{name} is not in `models`"
            return
    drawn = [listed.get(name) or listed[base_of(name) or name] for name in policy.arms or listed]
    capable = [model for model in drawn if model.capabilities is None or _can(model, policy.require)]
    if not capable:
        yield "require", f"none of its models has {', '.join(policy.require)}"


def _can(model: ListedModel, required: Sequence[str]) -> bool:
    outputs = {f"output:{word}" for word in model.output_modalities or ()}
    return {*(model.input_modalities or ()), *(model.parameters or ()), *outputs}.issuperset(required)
