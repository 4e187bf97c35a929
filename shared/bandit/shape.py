"""Shape of a prompt: what its characters say of its kind, beside what its words say.

Benchmarks, forms and applications are told apart by shape (length, lines, options, digits, code) where the words of the
prompt, of any topic, hardly do. Twelve figures, each squashed to -1 … 1 about its median and stored in fifteen steps.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np

from shared.bandit.context import Vector

LONGEST = 2000
"""Characters that are looked at."""

_OPTION = re.compile(r"^\s*\(?[A-J][.):]\s", re.MULTILINE)

_CODE, _DIGIT, _FORMULA, _CAPITAL, _MARK, _FOREIGN = range(1, 7)
_CLASSES = np.zeros(256, dtype=np.uint8)
for _characters, _class in (
    (b"{}();=<>[]_`", _CODE),
    (b"0123456789", _DIGIT),
    (b"\\$^", _FORMULA),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", _CAPITAL),
    (b",.:!?'\"-", _MARK),
    (bytes(range(128, 256)), _FOREIGN),
):
    _CLASSES[list(_characters)] = _class

_TYPICAL = (
    (5.5, 0.9),  # log of the length
    (0.0, 1.6),  # log of 1 + lines beyond the first
    (0.0, 0.8),  # log of 1 + lines that look like an option (A. …)
    (0.012, 0.045),  # shares of characters: code,
    (0.014, 0.045),  # digits,
    (0.0, 0.04),  # formulas,
    (0.026, 0.03),  # capitals,
    (0.027, 0.025),  # punctuation,
    (0.0, 0.005),  # bytes of other than ASCII characters
    (5.5, 2.1),  # characters a word
    (1.0, 0.6),  # whether there is a question mark
    (0.0, 0.6),  # whether there is a block of code
)
"""Median of each figure, and 1.5 times its standard deviation, over the prompts of two public sets (zeroeval and
paretobandit-val)."""

FIGURES = len(_TYPICAL)
_STEPS = 14


def shape_of(text: str) -> str:
    """Return the shape of a prompt as FIGURES hexadecimal digits; about 25 us."""
    text = text[:LONGEST]
    raw = text.encode("utf-8", "replace")
    length = len(raw) + 1
    counts = np.bincount(_CLASSES[np.frombuffer(raw, dtype=np.uint8)], minlength=7).tolist()
    shares = [counts[each] / length for each in (_CODE, _DIGIT, _FORMULA, _CAPITAL, _MARK, _FOREIGN)]
    figures = (
        math.log(length),
        math.log1p(text.count("\n")),
        math.log1p(len(_OPTION.findall(text))),
        *shares,
        length / (text.count(" ") + 1),
        float("?" in text),
        float("```" in text or "def " in text),
    )
    squashed = [math.tanh((value - middle) / spread) for value, (middle, spread) in zip(figures, _TYPICAL, strict=True)]
    return "".join([f"{round((value + 1) / 2 * _STEPS):x}" for value in squashed])


@lru_cache(maxsize=4096)
def shape_vector(shape: str) -> Vector:
    """Return the unit vector of a shape, (FIGURES,) float32; zeros where it cannot be read."""
    try:
        values = [int(digit, 16) / _STEPS * 2 - 1 for digit in shape]
    except ValueError:
        values = []
    norm = math.sqrt(math.fsum(value * value for value in values))
    made = np.array(values if len(values) == FIGURES else [0.0] * FIGURES) / max(norm, 1e-12)
    found = made.astype(np.float32)
    found.setflags(write=False)
    return found
