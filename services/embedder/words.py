"""Token ids of a text, word by word, with the ids of each word remembered.

The tokenizer is nine tenths of what a text costs a static model. It cuts a text into words before it looks anything
up, and what it makes of a word does not depend on the words around it: so it is asked once for each word, where the
cut is beyond doubt. That is printable ASCII, in which a word is a run of letters and digits or one other character.
Anything else, and what could be a special token, it reads itself.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

MOST_WORDS = 20_000
"""Remembered, of 30 characters at most: 5 MB when there are so many. Then it starts anew: a word is quickly asked."""
_LONG = 30
_BEYOND_DOUBT = re.compile(r"[\t\n\r\x20-\x5a\x5c-\x7e]*")
"""Without `[`, with which special tokens begin, and without the control characters that the tokenizer drops."""
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


class Words(dict[str, tuple[int, ...]]):
    """The ids of texts, by a lower-casing BERT tokenizer: those of each word that has been met."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._pieces = tokenizer.model  # what it asks for each word

    def ids(self, text: str) -> list[int]:
        """Return what the tokenizer would."""
        if _BEYOND_DOUBT.fullmatch(text) is None:
            ids: list[int] = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
            return ids
        return list(itertools.chain.from_iterable(map(self.__getitem__, _WORD.findall(text.lower()))))

    def __missing__(self, word: str) -> tuple[int, ...]:
        """Ask, and remember."""
        ids = tuple([piece.id for piece in self._pieces.tokenize(word)])
        if len(word) <= _LONG:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids
