"""Cached tokenizer: token ids of a text, with a cache by word.

Tokenizing takes nine tenths of the time of a static model. A BERT tokenizer first splits a text into words, and the ids
of a word do not depend on its neighbours, so they are cached by word. This holds only where we split exactly as the
tokenizer does: for printable ASCII, in which a word is a run of letters and digits or one other character. Any other
text, and text that may have special tokens, goes through the tokenizer as a whole.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

MOST_WORDS = 20_000
"""Size of the cache: at most 5 MB. A full cache is cleared, which is cheap: a word is quickly tokenized again."""
_LONGEST_WORD = 30
_SPLITS_ALIKE = re.compile(r"[\t\n\r\x20-\x5a\x5c-\x7e]*")
"""Excludes `[`, with which special tokens begin, and the control characters that the tokenizer drops."""
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


class CachedTokenizer(dict[str, tuple[int, ...]]):
    """Lower-casing BERT tokenizer with a cache from word to token ids."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._model = tokenizer.model  # tokenizes one word

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, the same that the tokenizer returns."""
        if _SPLITS_ALIKE.fullmatch(text) is None:
            ids: list[int] = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
            return ids
        return list(itertools.chain.from_iterable(map(self.__getitem__, _WORD.findall(text.lower()))))

    def __missing__(self, word: str) -> tuple[int, ...]:
        """Tokenize a word and cache its ids."""
        ids = tuple([piece.id for piece in self._model.tokenize(word)])
        if len(word) <= _LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids
