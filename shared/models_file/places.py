"""Places: which upstream serves an arm, and under which name.

| arm | upstream | name there |
|---|---|---|
| an id in `models` of MODELS_FILE | its `upstream` | its `model` |
| such an id with a suffix such as `:nitro` | the same | the same, with the suffix |
| `model@upstream`, of an upstream that is not the first | that one | `model` |
| any other name | the first one | the same |

So an arm's id never means another model when a list changes, and what was learned of it stays right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from shared.bandit.arms import Arm, ArmId
from shared.bandit.variants import base_of, variant
from shared.models_file.schema import ListedModel, ModelsFile


class Place(NamedTuple):
    """An upstream, and its own name of a model."""

    upstream: str
    model: str


class Places:
    """The places of all arms of one ModelsFile."""

    def __init__(self, file: ModelsFile) -> None:
        self._file = file
        self.first = next(iter(file.upstreams))
        self._models = {model.id: model for model in file.models}
        self._given = {model.id: Place(model.upstream or self.first, model.model or model.id) for model in file.models}
        self._ids: dict[Place, list[ArmId]] = {}
        for arm, place in self._given.items():
            self._ids.setdefault(place, []).append(arm)

    def of(self, arm: ArmId) -> Place:
        """Return the place of an arm; every name has one."""
        place = self._given.get(arm)
        if place is not None:
            return place
        base = base_of(arm)
        if base is not None and base in self._given:
            place = self._given[base]
            return place._replace(model=place.model + arm[len(base) :])
        model, _, upstream = arm.rpartition("@")
        if model and upstream != self.first and upstream in self._file.upstreams:
            return Place(upstream, model)
        return Place(self.first, arm)

    def is_given(self, arm: ArmId) -> bool:
        """Return whether the file lists `arm`, or the model that it is a variant of."""
        return arm in self._given or base_of(arm) in self._given

    def arm(self, arm: ArmId) -> Arm:
        """Return what the file says of an arm, whatever its upstream lists."""
        model = self._models.get(arm)
        base = None if model is not None else base_of(arm)
        if base is not None and base in self._models:
            return variant(self.arm(base), arm)
        return self._placed(Arm(arm), arm) if model is None else _with(self._placed(Arm(arm), arm), model)

    def listed(self, upstream: str, arms: Iterable[Arm]) -> dict[ArmId, Arm]:
        """Return an upstream's list under the router's ids, with what the file says of them."""
        found: dict[ArmId, Arm] = {}
        for arm in arms:
            place = Place(upstream, arm.id)
            plain = arm.id if upstream == self.first else f"{arm.id}@{upstream}"
            for name in self._ids.get(place, [plain]):
                placed, model = self._placed(arm, name), self._models.get(name)
                if self.of(name) == place:  # else the file gives this name to a model of another upstream
                    found[name] = placed if model is None else _with(placed, model)
        return found

    def _placed(self, arm: Arm, name: ArmId) -> Arm:
        upstream = self.of(name).upstream
        private = arm.private or self._file.upstreams[upstream].private
        return replace(arm, id=name, upstream=upstream, private=private)


def _with(arm: Arm, model: ListedModel) -> Arm:
    """Return `arm` with what the file gives in place of what is listed."""
    given: Mapping[str, object] = {
        "price": None if model.price is None else model.price.per_token(),
        "context_tokens": model.context_length,
        "max_output_tokens": model.max_output_tokens,
        "input_modalities": model.input_modalities,
        "output_modalities": model.output_modalities,
        "parameters": model.parameters,
    }
    return replace(arm, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
