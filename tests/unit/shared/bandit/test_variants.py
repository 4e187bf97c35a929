"""OpenRouter's suffixes: which model a variant is one of."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.variants import SUFFIXES, base_of, resolve, variant

LISTED = ["openai/gpt-4o", "v/odd:nitro", "v/odd", "v/free:free", "x/twin", "y/twin"]


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        *[(f"openai/gpt-4o:{suffix}", f"openai/gpt-4o:{suffix}") for suffix in sorted(SUFFIXES)],
        ("gpt-4o:nitro", "openai/gpt-4o:nitro"),
        ("odd:nitro", "v/odd:nitro"),
        ("v/free:free:online", "v/free:free:online"),
        ("openai/gpt-4o:free", None),
        ("openai/gpt-4o:none", None),
        ("openai/gpt-4o:", None),
        ("openai/gpt-4o:nitro:floor", None),
        ("v/free:nitro", None),
        ("twin:nitro", None),
        (":nitro", None),
        ("nitro", None),
    ],
)
def test_a_variant_is_one_of_a_listed_model(name: str, arm: str | None) -> None:
    """`:free` never stands for the paid model, and a word that is no suffix for nothing."""
    assert resolve(name, LISTED) == arm


def test_a_variant_has_the_limits_of_its_model_and_its_price_unless_it_costs_extra() -> None:
    """A web search is billed on top: what is not known is not known."""
    model = Arm("v/a", Price(1e-6, 2e-6), context_tokens=9, parameters=frozenset({"tools"}))
    nitro, online = variant(model, "v/a:nitro"), variant(model, "v/a:online")
    assert nitro == Arm("v/a:nitro", Price(1e-6, 2e-6), context_tokens=9, parameters=frozenset({"tools"}))
    assert (online.price, online.context_tokens) == (None, 9)
    assert (base_of("v/a:floor"), base_of("v/a"), base_of("v/a:free")) == ("v/a", None, None)
