"""Which names belong together, and which model stands in for one that is gone."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.families import billions_of, family_of, replacement, successor

SAME = [
    ("anthropic/claude-3.5-sonnet", "anthropic/claude-sonnet-4.5"),
    ("anthropic/claude-3-5-sonnet-20241022", "anthropic/claude-sonnet-4"),
    ("anthropic/claude-3.5-sonnet-latest", "anthropic/claude-3.7-sonnet"),
    ("openai/gpt-4o", "openai/gpt-5"),
    ("openai/gpt-4o-2024-11-20", "openai/gpt-4.1"),
    ("openai/gpt-4o-mini", "openai/gpt-5-mini"),
    ("openai/o3-mini", "openai/o4-mini"),
    ("google/gemini-2.5-pro-preview-05-06", "google/gemini-3-pro"),
    ("google/gemini-2.0-flash-001", "google/gemini-2.5-flash"),
    ("deepseek/deepseek-chat-v3.1", "deepseek/deepseek-v3.2-exp"),
    ("meta-llama/llama-3.3-70b-instruct:free", "meta-llama/llama-4-400b:free"),
    ("qwen/qwen3-235b-a22b", "qwen/qwen3.5-32b"),
    ("mistralai/mistral-small-3.2-24b-instruct", "mistralai/mistral-small-24b-instruct-2501"),
]
DIFFERENT = [
    ("anthropic/claude-3.5-sonnet", "anthropic/claude-3.5-haiku"),
    ("anthropic/claude-3.5-sonnet", "anthropic/claude-opus-4.5"),
    ("anthropic/claude-3.7-sonnet", "anthropic/claude-3.7-sonnet:thinking"),
    ("anthropic/claude-3.5-sonnet", "other/claude-3.5-sonnet"),
    ("openai/gpt-5", "openai/gpt-5-pro"),
    ("openai/gpt-4o", "openai/gpt-4o-mini"),
    ("openai/gpt-4o", "openai/gpt-oss-120b"),
    ("google/gemini-2.5-flash", "google/gemini-2.5-flash-lite"),
    ("deepseek/deepseek-chat-v3.1", "deepseek/deepseek-r1"),
    ("meta-llama/llama-3.3-70b-instruct:free", "meta-llama/llama-3.3-70b-instruct"),
    ("openai/o3", "openai/gpt-5"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_versions_dates_and_sizes_do_not_count(one: str, other: str) -> None:
    """Two releases of one product are a family, and each stands in for the other."""
    assert successor(one, [Arm(other)]) == Arm(other)
    assert successor(other, [Arm(one)]) == Arm(one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_product_price_class_or_provider_does_not_stand_in(one: str, other: str) -> None:
    """A word more is another product, `:free` is another price, and a provider's model is that provider's."""
    assert successor(one, [Arm(other)]) is None
    assert successor(other, [Arm(one)]) is None


def test_the_newest_stands_in_by_date_and_else_by_version() -> None:
    """The date of the list decides; where there is none, the number, which is no text: 4.10 is later than 4.9."""
    dated = [Arm("a/claude-sonnet-4", created=3.0), Arm("a/claude-sonnet-5", created=2.0), Arm("a/claude-3-sonnet")]
    assert successor("claude-3.5-sonnet", dated) == dated[0]
    numbered = [Arm("a/claude-sonnet-4.9"), Arm("a/claude-sonnet-4.10"), Arm("a/claude-3.5-sonnet-20241022")]
    assert successor("claude-3.5-sonnet", numbered) == numbered[1]


def test_a_name_without_provider_needs_one_provider_alone() -> None:
    """Two providers with a model of that family: neither is taken. An alias of the list is no model of its own."""
    arms = [Arm("anthropic/claude-sonnet-4.5"), Arm("reseller/claude-sonnet-4.5")]
    assert successor("claude-3.5-sonnet", arms) is None
    assert successor("anthropic/claude-3.5-sonnet", arms) == arms[0]
    assert successor("claude-3.5-sonnet", [arms[0], Arm("~anthropic/claude-sonnet-latest", created=9e9)]) == arms[0]


def test_a_model_that_draws_does_not_stand_in_for_one_that_writes() -> None:
    """Text in and out, as far as the list says."""
    assert successor("x/pic-1", [Arm("x/pic-2", output_modalities=frozenset({"image"}))]) is None
    assert successor("x/pic-1", [Arm("x/pic-2", Price(1e-6, 1e-6), output_modalities=frozenset({"image", "text"}))])


@pytest.mark.parametrize("name", ["", "70b", "4", "a/1.5", "latest", "x/latest-preview"])
def test_a_name_without_words_has_no_family(name: str) -> None:
    """Else any other such name would stand in for it."""
    assert family_of(name).words == frozenset()
    assert successor(name, [Arm("a/2.5"), Arm("7b")]) is None


@pytest.mark.parametrize(
    ("name", "billions"),
    [("a/x-70b-instruct", 70), ("a/x3-235b-a22b:free", 235), ("a/x-3n-e4b-it", 4), ("a/x-1.5b", 1.5), ("a/x-v3", None)],
)
def test_sizes_are_read_from_names(name: str, billions: float | None) -> None:
    """The whole size, not that of the active part."""
    assert billions_of(name) == billions


@pytest.mark.parametrize(
    ("name", "replaced_by"),
    [
        ("claude-3.5-sonnet", "anthropic/claude-sonnet-4.5"),
        ("claude-3.5-sonnet:nitro", "anthropic/claude-sonnet-4.5:nitro"),
        ("anthropic/claude-3.7-sonnet:thinking", "anthropic/claude-sonnet-4.5:thinking"),
        ("anthropic/claude-3.5-sonnet:free", None),
    ],
)
def test_a_variant_is_replaced_by_the_same_variant(name: str, replaced_by: str | None) -> None:
    """`:nitro` is a way to call a model; `:free` is a model of its own."""
    assert replacement(name, [Arm("anthropic/claude-sonnet-4.5"), Arm("a/b:free")]) == replaced_by
