"""Which models the word `free` stands for: what qualifies, in which order, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.free_arms import MAX_FREE, filled, qualifies, ranked

ZERO = Price(0.0, 0.0)
TEXT = frozenset({"text"})
DAY = 86_400.0


def free(name: str, created_day: float | None = None, **known: Any) -> Arm:
    return Arm(name, ZERO, created=None if created_day is None else created_day * DAY, **known)


@pytest.mark.parametrize(
    "arm",
    [
        free("a/x:free"),
        free("a/x", context_tokens=32_000, input_modalities=TEXT, output_modalities=TEXT),
        free("a/x", context_tokens=32_768, input_modalities=frozenset({"text", "image"}), output_modalities=TEXT),
        free("a/autopilot-1"),
    ],
)
def test_free_text_models_qualify(arm: Arm) -> None:
    """Named `:free` or not; what the list does not say speaks for a model."""
    assert qualifies(arm)


@pytest.mark.parametrize(
    "arm",
    [
        Arm("a/unpriced"),
        Arm("a/x:free", Price(0.0, 1e-9)),
        Arm("a/x:free", Price(1e-9, 0.0)),
        Arm("a/x", Price(0.0, 0.0, request_usd=0.01)),
        free("a/x", context_tokens=31_999),
        free("a/music", output_modalities=frozenset({"text", "audio"})),
        free("a/pic", output_modalities=frozenset({"image"})),
        free("a/scribe", input_modalities=frozenset({"audio"}), output_modalities=TEXT),
        free("openrouter/auto"),
        free("openrouter/free"),
        free("openrouter/some-stealth-model"),
        free("switchpoint/router"),
        free("x/auto"),
        free("x/smart-router-2"),
        free("~x/model-latest"),
        free("meta-llama/llama-guard-4-12b:free"),
        free("x/text-embedding-3"),
    ],
)
def test_what_costs_routes_or_does_not_chat_does_not_qualify(arm: Arm) -> None:
    """One price of three is enough to be paid; a router may choose a paid model."""
    assert not qualifies(arm)


def test_each_family_comes_before_any_comes_twice() -> None:
    """The newest of each family, newest family first; then the second of each."""
    arms = [free("a/one-1", 1), free("a/one-2", 500), free("b/two-1", 400), free("c/three-1", 300), free("b/other", 2)]
    assert ranked(arms) == ["a/one-2", "b/two-1", "c/three-1", "b/other", "a/one-1"]


def test_the_largest_of_a_generation_comes_first() -> None:
    """Released within a month of one another: size decides; an older generation comes later, however large."""
    gemma = [
        free("g/gemma-3-4b", 101),
        free("g/gemma-3-27b", 100),
        free("g/gemma-3-12b", 101),
        free("g/gemma-2-99b", 9),
    ]
    assert ranked(gemma) == ["g/gemma-3-27b", "g/gemma-3-12b", "g/gemma-3-4b", "g/gemma-2-99b"]


def test_small_models_come_behind_the_others_of_their_rank() -> None:
    """Two billion parameters are a last resort, however new."""
    assert ranked([free("a/tiny-2b", 900), free("b/big-70b", 100)]) == ["b/big-70b", "a/tiny-2b"]


def test_at_most_eight_and_in_the_same_order_whatever_the_list_s_order() -> None:
    """All gateways choose the same from the same list."""
    arms = [free(f"p{number}/m{letter}", number % 3) for number in range(6) for letter in "ab"]
    assert filled((), arms) == filled((), arms[::-1])
    assert len(filled((), arms)) == MAX_FREE == 8


def test_what_was_chosen_before_keeps_its_place() -> None:
    """A newer model waits until a place is free."""
    kept = tuple(f"old/m{number}" for number in range(MAX_FREE))
    newer = [free("new/shiny", 9_999)]
    assert filled(kept, newer) == kept
    assert filled(kept[:-1], newer) == (*kept[:-1], "new/shiny")
