"""The catalogue that the settings describe: names of models, their prices, and which settings count costs."""

from __future__ import annotations

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.price_list import PriceList
from shared.ports import ChatModel, Clock
from shared.settings import Settings, prices_of


def build_catalogue(settings: Settings, upstream: ChatModel, clock: Clock) -> Catalogue:
    """Return the models that the settings name, to be looked up in the upstream's list."""
    return Catalogue(
        upstream,
        models=settings.LLM_MODELS,
        default=settings.DEFAULT_MODEL,
        clock=clock,
        prices=price_list(settings),
        weighs_default=settings.SAFE_START,
    )


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
