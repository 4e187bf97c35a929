"""Typical words of groups of texts, by tf-idf: what the texts of one group say, and those of other groups do not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

MAX_CHARS = 2000
"""Read of each text."""

_WORD = re.compile(r"[^\W\d_]+")
_LENGTHS = range(3, 25)
_FUNCTION_WORDS = (
    "about all also and any are because been before but can could does each for from get give had has have her here "
    "his how into its just like make may more most much must need not now one only other our out over please she "
    "should some such than that the their them then there these they this those through use using very was way were "
    "what when where which while who why will with would write you your"
)
_STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


def typical_words(groups: Sequence[Sequence[str]], number: int = 3) -> list[tuple[str, ...]]:
    """Return up to `number` words of each group, the most typical first; none for a group without texts.

    The weight of a word is the number of texts of the group that have it, times log(1 + groups / groups that have it).
    Of equal weights, the word that comes first in the texts.
    """
    counted = [_texts_with(texts) for texts in groups]
    groups_with = Counter(word for counts in counted for word in counts)
    return [
        tuple(sorted(counts, key=lambda word: -counts[word] * math.log(1 + len(groups) / groups_with[word]))[:number])
        for counts in counted
    ]


def _texts_with(texts: Sequence[str]) -> Counter[str]:
    """Return how many texts have each word, in the order of their first place."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = (word for word in _WORD.findall(text[:MAX_CHARS].lower()) if len(word) in _LENGTHS)
        counts.update(dict.fromkeys((word for word in words if word not in _STOP_WORDS), 1))
    return counts
