"""Similarity hash of a text (SimHash, Charikar 2002): texts that share most of their wording share most of its bits.

A system prompt often names the date, the user or what was looked up. An exact hash would make every such request one of
a kind; of this hash a few bits change.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BITS = 64
MAX_CHARS = 2000
"""What is read of a text: instructions mostly come first, and what was looked up for the request later."""

_WINDOW = 8
"""Characters of one feature."""

_DIGITS = (ord("0"), ord("9"))
_MULTIPLIERS = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))
_SHIFTS = tuple(map(np.uint64, (30, 27, 31)))


def similarity_hash(text: str) -> str:
    """Return the hash as 16 hexadecimal digits. Letters count in either case, digits not at all."""
    return _hash(text[:MAX_CHARS])


@lru_cache(maxsize=256)
def _hash(text: str) -> str:
    """Return the majority of each bit over the hashes of all windows; about 100 us for the longest text."""
    features = _window_hashes(text.lower())
    bits = np.unpackbits(features.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    ones = np.ones(len(bits), dtype=np.float32) @ bits.astype(np.float32)  # whole numbers: exact in any order
    return np.packbits(ones * 2 >= len(bits)).tobytes().hex()


def _window_hashes(text: str) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each window of characters (mixed as in splitmix64)."""
    chars = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    chars = chars[(chars < _DIGITS[0]) | (chars > _DIGITS[1])]
    number = max(len(chars) - _WINDOW + 1, 1)
    hashes = np.zeros(number, dtype=np.uint64)
    for start in range(min(_WINDOW, len(chars))):
        hashes = hashes * _MULTIPLIERS[0] + chars[start : start + number]
    hashes = (hashes ^ (hashes >> _SHIFTS[0])) * _MULTIPLIERS[1]
    hashes = (hashes ^ (hashes >> _SHIFTS[1])) * _MULTIPLIERS[2]
    return np.asarray(hashes ^ (hashes >> _SHIFTS[2]), dtype=np.uint64)
