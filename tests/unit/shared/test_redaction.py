"""Which names of fields are secret."""

from __future__ import annotations

import pytest

from shared.redaction import MASK, may_hold_secret, redact


@pytest.mark.parametrize(
    ("name", "secret"),
    [("access_token", True), ("Token", True), ("OPENROUTER_API_KEY", True), ("prompt_tokens", False), ("model", False)],
)
def test_a_secret_is_known_by_the_name_of_its_field(name: str, secret: bool) -> None:
    """Numbers of tokens are no secret, and a line with a secret is never taken for one without."""
    assert redact({name: "value"}) == {name: MASK if secret else "value"}
    assert may_hold_secret(f'{{"{name}":"value"}}'.encode()) or not secret
