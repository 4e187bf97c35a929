"""Typical words of groups of texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.models.typical_words import MAX_CHARS, typical_words

TEXTS = st.lists(st.lists(st.text("abcdé ß,1", max_size=40), max_size=4), max_size=5)


def test_words_tell_a_group_from_the_others() -> None:
    """What all groups say names none of them, and what more texts of a group say names it before what fewer say."""
    groups = [
        ["Write a poem about rivers in spring", "A poem on the sea", "Write me a rhyming poem on rivers"],
        ["Write Python that sorts a list", "Sort the list in Python"],
        ["Write a letter to my landlord"],
        [],
    ]
    assert typical_words(groups) == [
        ("poem", "rivers", "spring"),
        ("python", "list", "sorts"),
        ("letter", "landlord"),
        (),
    ]


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    """A prompt may be a whole book."""
    assert typical_words([["x" * MAX_CHARS + " whale"]]) == [()]


@given(TEXTS, st.integers(0, 4))
def test_words_are_from_the_texts_of_their_group(groups: list[list[str]], number: int) -> None:
    """In lower case, each once, at most so many."""
    found = typical_words(groups, number)
    assert len(found) == len(groups)
    for words, texts in zip(found, groups, strict=True):
        assert len(words) == len(set(words)) <= number
        assert all(any(word in text.lower() for text in texts) for word in words)
