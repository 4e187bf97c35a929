"""Names of arms, and who may answer."""

from __future__ import annotations

import pytest

from shared.bandit.eligibility import resolve_arm

CATALOGUE = ["anthropic/claude-3.5-sonnet", "openai/gpt-4o", "x/twin", "y/twin", "plain"]


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("claude-3.5-sonnet", "anthropic/claude-3.5-sonnet"),
        ("plain", "plain"),
        ("twin", None),
        ("sonnet", None),
        ("", None),
        ("gpt-5", None),
    ],
)
def test_a_name_means_the_same_id_or_the_only_one_with_that_ending(name: str, arm: str | None) -> None:
    """A bare model name is completed when, and only when, one provider has it."""
    assert resolve_arm(name, CATALOGUE) == arm
