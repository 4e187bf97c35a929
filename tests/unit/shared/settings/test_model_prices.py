"""MODEL_PRICES: one price a model, checked at the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.arms import Price
from shared.errors import SettingsError
from shared.settings import Settings, load_settings, prices_of

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=40)
amounts = st.integers(0, 10**9).map(lambda nano: nano / 1000)


def load(text: str) -> Settings:
    return load_settings({"MODEL_PRICES": text}, None)


def test_names_hold_colons_slashes_and_equals_signs() -> None:
    """An entry is split at its last `=`; prices are USD per million tokens."""
    settings = load("openai/gpt-4o=2.5:10, openai/gpt-4o:free=0:0\nlocal/a=b=0.25:1")
    assert prices_of(settings.MODEL_PRICES) == {
        "openai/gpt-4o": Price(2.5e-6, 1e-5),
        "openai/gpt-4o:free": Price(0.0, 0.0),
        "local/a=b": Price(0.25e-6, 1e-6),
    }
    assert prices_of(load("").MODEL_PRICES) == {}


@given(st.dictionaries(names, st.tuples(amounts, amounts), min_size=1, max_size=4))
def test_every_name_of_a_model_can_have_a_price(prices: dict[str, tuple[float, float]]) -> None:
    """What is written is read."""
    text = ",".join(f"{name}={prompt:f}:{completion:f}" for name, (prompt, completion) in prices.items())
    read = prices_of(load(text).MODEL_PRICES)
    assert {name: (price.prompt_usd * 1e6, price.completion_usd * 1e6) for name, price in read.items()} == {
        name: pytest.approx(price) for name, price in prices.items()
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a/b", "entry 1 is not of the form"),
        ("a/b=1", "entry 1 is not of the form"),
        ("=1:2", "entry 1 is not of the form"),
        ("a b=1:2", "entry 1 is not of the form"),
        ("a/b=1:2,c/d=1:2:3", "a price in entry 2"),
        ("a/b=-1:2", "a price in entry 1"),
        ("a/b=1:", "a price in entry 1"),
        ("a/b=nan:1", "a price in entry 1"),
        ("a/b=1:inf", "a price in entry 1"),
        ("a/b=1:2000000", "a price in entry 1"),
        ("a/b=1:2,a/b=1:3", "entry 2 gives a second price"),
    ],
)
def test_a_bad_price_stops_the_start(text: str, reason: str) -> None:
    """One line that names the variable and the entry, and says what is wanted."""
    with pytest.raises(SettingsError, match=f"^MODEL_PRICES: .*{reason}") as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_prices_are_part_of_the_settings_hash() -> None:
    """They shape decisions."""
    assert load("a/b=1:2").decisive_hash() != load("a/b=1:3").decisive_hash() != load("").decisive_hash()
