"""Shape of a prompt: the same for everyday prompts of any topic, another for code, lists and formulas."""

from __future__ import annotations

import numpy as np
import pytest

from shared.bandit.shape import FIGURES, shape_of, shape_vector
from shared.bandit.traits import kind_vector

EVERYDAY = ("What is a good name for a cat?", "How do I cook rice?", "Where is the nearest station?")
CHOICES = "Which of these is a metal?\nA. oxygen\nB. iron\nC. helium\nD. neon\n"
CODE = "```python\ndef f(x):\n    return {k: v for (k, v) in x.items() if v > 0}\n```"
FORMULA = "Find $x$ with $\\frac{x^2}{2} = 18$ and $x > 0$, then $x^3$."


def cosine(one: str, other: str) -> float:
    """Of two prompts' shapes."""
    return float(shape_vector(shape_of(one)) @ shape_vector(shape_of(other)))


@pytest.mark.parametrize("text", ["", " ", "a", "\ud800", "ÄÖ" * 3000, "x" * 100_000, *EVERYDAY, CHOICES, CODE])
def test_any_text_has_a_shape(text: str) -> None:
    """Twelve digits, and a unit vector."""
    shape = shape_of(text)
    assert len(shape) == FIGURES
    assert np.linalg.norm(shape_vector(shape)) == pytest.approx(1, abs=1e-6)


def test_shapes_tell_forms_apart_and_topics_alike() -> None:
    """Everyday questions resemble each other more than a list of choices, code or a formula."""
    alike = min(cosine(one, other) for one in EVERYDAY for other in EVERYDAY)
    apart = max(cosine(EVERYDAY[0], other) for other in (CHOICES, CODE, FORMULA))
    assert alike > apart + 0.2


def test_what_is_no_shape_counts_nothing() -> None:
    """A damaged record, or one of another version."""
    text = np.eye(4, dtype=np.float32)[0]
    for shape in ("", "zz", "0123", "0" * 13):
        assert not shape_vector(shape).any()
        np.testing.assert_array_equal(kind_vector(text, (f"shape:{shape}",)), kind_vector(text, ()))


def test_the_shape_has_its_share() -> None:
    """.15 of the squared norm of what the text says, the traits half of all."""
    text = np.eye(4, dtype=np.float32)[0]
    alone, both = (
        kind_vector(text, (f"shape:{shape_of(CODE)}",)),
        kind_vector(text, (f"shape:{shape_of(CODE)}", "json")),
    )
    assert alone[0] ** 2 == pytest.approx(0.85, abs=1e-6)
    assert both[0] ** 2 == pytest.approx(0.425, abs=1e-6)
    assert np.linalg.norm(both[4 + FIGURES :]) ** 2 == pytest.approx(0.5, abs=1e-6)
