"""Catalogue of settings and MODELS_FILE: names of models, their prices, and which settings count costs."""

from __future__ import annotations

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.model_lists import ModelLists
from services.gateway.models.price_list import PriceList
from shared.models_file import ModelsFile
from shared.ports import Clock
from shared.settings import Settings, prices_of
from shared.upstreams import Upstreams


def build_catalogue(settings: Settings, file: ModelsFile, upstreams: Upstreams, clock: Clock) -> Catalogue:
    """Return the models that settings and file name, to be looked up in the upstreams' lists."""
    models, default = named_models(settings, file)
    return Catalogue(
        ModelLists(file, upstreams, clock),
        models=models,
        default=default,
        prices=price_list(settings),
        weighs_default=settings.SAFE_START,
    )


def named_models(settings: Settings, file: ModelsFile) -> tuple[tuple[str, ...], str]:
    """Return the arms and the default model: those of the file, else those of the settings.

    A DEFAULT_MODEL that is set counts; where it is not, the first model of the file does.
    """
    if not file.models:
        return settings.LLM_MODELS, settings.DEFAULT_MODEL
    models = tuple(model.id for model in file.models)
    return models, settings.DEFAULT_MODEL if "DEFAULT_MODEL" in settings.model_fields_set else models[0]


def price_list(settings: Settings) -> PriceList:
    """Return the list that the settings give."""
    given = {
        "BUDGET_USD_PER_DAY": settings.BUDGET_USD_PER_DAY > 0,
        "KEY_LIMITS": any(float(part.partition("=")[2]) > 0 for entry in settings.KEY_LIMITS
                          for part in entry.split(":") if part.startswith("usd=")),
        "EXPLORATION_BUDGET_USD": bool(settings.EXPLORATION_BUDGET_USD),
    }  # fmt: skip
    budgets = tuple(name for name, counts in given.items() if counts)
    return PriceList(prices_of(settings.MODEL_PRICES), budgets, weighed=settings.COST_WEIGHT != 0)
