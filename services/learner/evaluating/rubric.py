"""Rubric: the file by which the judge scores answers. Operators replace it with JUDGE_RUBRIC."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SettingsError

DEFAULT = Path(__file__).with_name("rubric.md")
MAX_BYTES = 65_536
_SCALE = re.compile(r"^scale:\s*(-?\d+(?:\.\d+)?)\s+to\s+(-?\d+(?:\.\d+)?)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rubric:
    """A rubric: its text, and the lowest and highest grade on its scale. `hash` is stored with each verdict."""

    text: str
    low: float = 0.0
    high: float = 1.0

    @property
    def hash(self) -> str:
        """A short hash of the text, scale included."""
        return hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()

    def score(self, grade: float) -> float | None:
        """Return a grade as a score between 0 and 1; None for a grade that is not on the scale."""
        on_scale = math.isfinite(grade) and self.low <= grade <= self.high
        return (grade - self.low) / (self.high - self.low) if on_scale else None


def load_rubric(path: Path | None) -> Rubric:
    """Read a rubric file; None: the one of the package. Raises SettingsError.

    A line such as `Scale: 1 to 5` gives the scale; without one it is 0 to 1.
    """
    try:
        raw = (path or DEFAULT).read_bytes()
        text = raw.decode().strip()
    except OSError as error:
        raise SettingsError(f"JUDGE_RUBRIC: {path}: {error.strerror or 'it cannot be read'}") from error
    except ValueError as error:
        raise SettingsError(f"JUDGE_RUBRIC: {path}: not a text file in UTF-8") from error
    if not text or len(raw) > MAX_BYTES:
        raise SettingsError(f"JUDGE_RUBRIC: {path}: a rubric has 1 to {MAX_BYTES:,} bytes, this file has {len(raw):,}")
    scale = _SCALE.search(text)
    if scale is None:
        return Rubric(text)
    low, high = float(scale[1]), float(scale[2])
    if low >= high:
        raise SettingsError(f"JUDGE_RUBRIC: {path}: the scale must rise, as in `Scale: 1 to 5`")
    return Rubric(text, low, high)
