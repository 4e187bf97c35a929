"""Catalogue of models: LLM_MODELS with its changes at run time, and DEFAULT_MODEL, with prices and limits.

The word `free` in LLM_MODELS stands for models chosen from the upstream's list (`free_arms.py`). A DEFAULT_MODEL that
is not listed is replaced by the newest listed model of its family (`shared/bandit/families.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.gateway.models.free_models import FreeArms
from services.gateway.models.model_lists import ModelLists, UpstreamList
from services.gateway.models.model_warnings import ModelWarnings
from services.gateway.models.price_list import PriceList
from shared.bandit.arms import Arm, ArmId, Price, is_arm_name
from shared.bandit.families import replacement
from shared.bandit.free_arms import FREE
from shared.bandit.variants import base_of, meant_among, resolve, variant
from shared.errors import NotFound
from shared.models_file import ModelsFile, Policy

MAX_UNLISTED = 1000
"""Bound on the names that clients may pin where no list confirms them: each is kept in memory and learned about."""


class Catalogue:
    """The arms of the bandit, and every other model that a client may pin.

    Until the list of its upstream has been read, and where the upstream has none, every name is accepted, without a
    price.

    Attributes:
        lists: what the upstreams list.
        default_name: DEFAULT_MODEL as it was set; `default` is the model that serves as it, or None.
        room: tokens, prompt and answer together, for which every arm has room.
        unlisted: names of LLM_MODELS, the changes and DEFAULT_MODEL that are not listed.
    """

    def __init__(
        self,
        lists: ModelLists,
        *,
        models: Sequence[str],
        default: str,
        prices: PriceList | None = None,
        weighs_default: bool = False,
    ) -> None:
        self.lists = lists
        self.prices = prices or PriceList()
        self._changes: Mapping[ArmId, bool] = {}
        self._weighs_default = weighs_default  # SAFE_START: DEFAULT_MODEL is an arm, whatever LLM_MODELS names
        self.free = FreeArms()
        self._listed: dict[ArmId, Arm] = {}
        self._variants: dict[ArmId, Arm] = {}
        self._labels: frozenset[ArmId] = frozenset()
        self._unlisted: set[ArmId] = set()
        self.lists_limits = self.has_private = False
        self.room = 0
        self.arm_ids = self.added = self.removed = tuple[ArmId, ...]()
        self.default: ArmId | None = None
        self.unlisted: tuple[str, ...] = ()
        self._warnings = ModelWarnings()
        self._name(models, default)
        self._take()

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Return the bandit's arms, with their prices where the upstream lists them."""
        return tuple(self.arm(arm) for arm in self.arm_ids)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Return the policies that clients may name."""
        return self.lists.file.policies

    def upstream_of(self, arm: ArmId) -> str:
        """Return the name of the upstream that serves `arm`."""
        listed = self._listed.get(arm)
        return self.arm(arm).upstream if listed is None else listed.upstream

    def has_api(self, arm: ArmId, api: str) -> bool:
        """Return whether the upstream of `arm` has an API, such as `responses`."""
        return api in self.lists.file.upstreams[self.upstream_of(arm)].dialects

    def is_private(self, arm: ArmId) -> bool:
        """Return whether the prompts of `arm` must not go to another upstream."""
        return self.arm(arm).private

    async def refresh(self) -> None:
        """Read the upstreams' lists. Raises UpstreamError; the last lists stay in use."""
        await self._refresh(due_only=False)

    async def refresh_if_due(self) -> None:
        """Read each list whose reading has never succeeded, or is long ago; for a loop that runs every `RETRY_S`.

        Raises UpstreamError, also while a list waits after a failure.
        """
        await self._refresh(due_only=True)

    async def _refresh(self, *, due_only: bool) -> None:
        try:
            await self.lists.refresh(self._read, due_only=due_only)
        finally:
            self._report()

    def _read(self, one: UpstreamList) -> None:
        """Use a list that was just read."""
        free = self.free if self.uses_free and one.name == self.lists.places.first else None
        self._take(free)

    def configure(self, file: ModelsFile, *, models: Sequence[str], default: str) -> None:
        """Use another MODELS_FILE, with the models and the default model that it names."""
        self.lists.configure(file)
        self._name(models, default)
        self._take()

    def _name(self, models: Sequence[str], default: str) -> None:
        self._models = tuple(dict.fromkeys(models))
        self.default_name = default
        self.uses_free = FREE in (*self._models, default)

    def _take(self, free: FreeArms | None = None) -> None:
        """Derive everything from the lists as they are now; `free` is chosen anew."""
        current = self.prices.applied(self.lists.arms())
        if free is not None:
            first = self.lists.places.first
            free.read({name: arm for name, arm in current.items() if arm.upstream == first})
        # A free model that is missing from one list keeps its price and limits.
        kept = {arm: self._listed[arm] for arm in self.free.arms if arm in self._listed}
        self._listed, self._variants = {**kept, **current}, {}
        self.lists_limits = any(arm.has_limits for arm in self._listed.values())
        self.has_private = any(upstream.private for upstream in self.lists.file.upstreams.values())
        self._resolve()

    def change(self, changes: Mapping[ArmId, bool]) -> None:
        """Apply the changes of LLM_MODELS at run time: True for an added model, False for a removed one."""
        if changes != self._changes:
            self._changes = dict(changes)
            self._resolve()

    def adopt_free(self, chosen: tuple[ArmId, ...]) -> None:
        """Use the models that another gateway has chosen for `free`."""
        self.free.adopt(chosen)
        self._resolve()

    def named(self, name: str) -> ArmId | None:
        """Return the listed id that `name` means, None for none; until the list is known, `name` itself."""
        found = self._listed_as(name)
        return name if found is None and not self.lists.of(name).arms else found

    @property
    def default_replaced(self) -> bool:
        """Return whether another model replaces DEFAULT_MODEL."""
        return self.default is not None and self.default_name in self.unlisted

    def mentions(self, name: str) -> bool:
        """Return whether LLM_MODELS or a change names `name`, whatever the upstream lists."""
        return name in self._models or name in self._changes

    def listing(self, arm: ArmId) -> Arm | None:
        """Return the list's entry for `arm`, or for the model that it is a variant of; None where there is none."""
        listed = self._listed.get(arm) or self._variants.get(arm)
        if listed is None and (base := self._listed.get(base_of(arm) or "")) is not None:
            listed = self._variants[arm] = self.prices.on(variant(base, arm))
        return listed

    def arm(self, arm: ArmId) -> Arm:
        """Return the list's entry for `arm`, or an arm that has a name alone."""
        return self.listing(arm) or self.prices.on(self.lists.places.arm(arm))

    def price(self, arm: ArmId) -> Price | None:
        """Return the list price, if MODEL_PRICES or the upstream gives one."""
        return self.arm(arm).price

    @property
    def uncounted(self) -> tuple[ArmId, ...]:
        """Return the arms, DEFAULT_MODEL included, whose unknown costs a setting needs; none before the first list."""
        return () if self.lists.age_s is None else self.prices.uncounted(self._served())

    def _served(self) -> tuple[Arm, ...]:
        """Return the arms and the default model."""
        return tuple(self.arm(arm) for arm in dict.fromkeys((*self.arm_ids, *([self.default] if self.default else []))))

    def pin(self, name: str) -> ArmId:
        """Return the arm that a client means by `name`. Raises NotFound."""
        arm = self._find(name)
        if arm is not None:
            return arm
        has_room = name in self._unlisted or len(self._unlisted) < MAX_UNLISTED
        if self.lists.of(name).is_read or not has_room or not is_arm_name(name):
            raise _not_found("The model does not exist here.", "model")
        self._unlisted.add(name)  # no list can confirm it: the upstream accepts or refuses it
        return name

    def narrow(self, names: Iterable[str]) -> tuple[ArmId, ...]:
        """Return the arms of the bandit that are among `names`. Raises NotFound for an unknown name or none left."""
        # Before the list is read, an unknown name may be a model that is not among the arms.
        found = {name: self._find(name) or (None if self.lists.of(name).is_read else name) for name in names}
        unknown = next((name for name, arm in found.items() if arm is None), None)
        if unknown is not None:
            raise _not_found(f"{unknown} does not exist here.", "models")
        if kept := meant_among(self.arm_ids, {arm for arm in found.values() if arm is not None}):
            return kept
        raise _not_found("None of the models is in the router's list.", "models")

    def label(self, arm: ArmId) -> str:
        """Return `arm` as a metric label: the configured ones by name, any other as `other`."""
        return arm if arm in self._labels else "other"

    def _find(self, name: str) -> ArmId | None:
        if name in self.arm_ids:
            return name
        if self.default is not None and name in {self.default, self.default_name}:
            return self.default
        return self._listed_as(name)

    def _listed_as(self, name: str) -> ArmId | None:
        """Return an exact id, that of a name without its provider if it is unique, or a variant of one of these."""
        if name in self._listed:
            return name
        if self.lists.places.is_given(name):  # it means this model of this upstream, whatever others list
            return name if base_of(name) in self._listed else None
        return resolve(name, self._listed)

    def _resolve(self) -> None:
        configured, last = self._known(self._expanded()), self._last_words()
        self.default = self._resolved_default()
        always = (self.default,) if self._weighs_default and self.default is not None else ()
        arms = [arm for arm in self._known((*configured, *last)) if last.get(arm, True)]
        if not arms and not always:  # a list without any of them is more likely wrong than the settings are
            arms = configured = configured or self._expanded() or self._alone()
        self.arm_ids = tuple(dict.fromkeys((*arms, *always)))
        self.added = tuple(arm for arm in arms if arm not in configured)
        self.removed = tuple(arm for arm in configured if arm not in self.arm_ids)
        served = self._served()
        self._labels = frozenset(arm.id for arm in served)
        self.room = min(map(Arm.room, served), default=0)
        wanted = (name for name in (*self._models, *self._changes, self.default_name) if self._changes.get(name, True))
        self.unlisted = tuple(name for name in dict.fromkeys(wanted) if name != FREE and self.named(name) is None)
        if self.lists.asked:
            self._report()

    def _expanded(self) -> list[str]:
        """Return LLM_MODELS with the chosen models for `free`."""
        expanded = [self.free.arms if name == FREE else (name,) for name in self._models]
        return list(dict.fromkeys(name for names in expanded for name in names))

    def _alone(self) -> list[str]:
        """Return DEFAULT_MODEL, which serves where `free` stands for no model."""
        name = self.default or self.default_name
        return [] if name == FREE else [name]

    def _resolved_default(self) -> ArmId | None:
        if self.default_name == FREE:
            return next(iter(self.free.arms), None)
        return self.named(self.default_name) or replacement(self.default_name, self._listed.values())

    def _report(self) -> None:
        """Log warnings about models that the settings name and the upstream does not list."""
        default_listed = self.default_name not in self.unlisted
        price = None if self.default is None else self.price(self.default)
        lacks_free = FREE in self._models and not self.free.arms
        why = (self.lists.error or "the upstream lists none that qualifies") if lacks_free else None
        self._warnings.missing([name for name in self.unlisted if name != self.default_name], self.arm_ids)
        self._warnings.without_free(why, self.arm_ids)
        self._warnings.default(self.default_name, self.default, price, listed=default_listed,
                               safe_start=self._weighs_default)  # fmt: skip
        if self.lists.age_s is not None:
            self.prices.report(self._served())

    def _known(self, names: Iterable[str]) -> list[ArmId]:
        """Return the listed arms that `names` mean, each once."""
        return list(dict.fromkeys(arm for name in names if (arm := self.named(name)) is not None))

    def _last_words(self) -> dict[ArmId, bool]:
        """Return the changes by arm. An arm's id overrides a short name, which was used before the list was known."""
        last: dict[ArmId, bool] = {}
        for name in sorted(self._changes, key=lambda name: (self.named(name) == name, name)):
            arm = self.named(name)
            if arm is not None:
                last[arm] = self._changes[name]
        return last


def _not_found(message: str, param: str) -> NotFound:
    see = "GET /v1/models shows those that the router chooses from."
    return NotFound(f"{message} {see}", code="model_not_found", param=param)
