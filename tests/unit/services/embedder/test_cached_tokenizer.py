"""The cached tokenizer of the static model: ids and vectors equal those of the tokenizer and of fastembed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedder import cached_tokenizer
from services.embedder.cached_tokenizer import CachedTokenizer
from services.embedder.encoder import STATIC, StaticEncoder
from tests.support.embedder_rig import real_encoder

ASCII = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=60)
WORDY = st.lists(st.sampled_from(["the", "Kubernetes", "can't", "[CLS]", "[MASK", "x" * 101, "42.5", "  ", "é"]))


def tokenizer() -> Any:
    loaded: Any = real_encoder(STATIC)._embedding.model
    return loaded.tokenizer


@given(st.one_of(ASCII, st.text(max_size=40), WORDY.map(" ".join), WORDY.map("".join)))
def test_the_ids_are_the_tokenizers(text: str) -> None:
    """For every text: words, control characters, special tokens, other scripts."""
    asked = tokenizer().encode_batch_fast([text], add_special_tokens=False)[0].ids
    assert CachedTokenizer(tokenizer()).ids(text) == asked


def test_remembering_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is full and starts anew; long words are not kept at all."""
    monkeypatch.setattr(cached_tokenizer, "MOST_WORDS", 3)
    remembered = CachedTokenizer(tokenizer())
    text = "one two three four five one two " + "six" * 20
    first, again = remembered.ids(text), remembered.ids(text)
    assert first == again == CachedTokenizer(tokenizer()).ids(text)
    assert len(remembered) <= 3
    assert all(len(word) <= 30 for word in remembered)


def test_the_vectors_are_those_of_fastembeds_own_loop() -> None:
    """To the last digits; blank texts aside, for which it has none."""
    encoder = real_encoder(STATIC)
    assert isinstance(encoder, StaticEncoder)
    texts = [f"Explain case {number} of the Krebs cycle, naïvely: [SEP] {'soup ' * number}" for number in range(40)]
    expected = np.array(list(encoder._embedding.embed(texts)))
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "quick"),
    [
        (["Explain the Krebs cycle in fifty words."] * 32, True),
        ([""], True),
        (["word " * 1000], False),
        (["a " * 30] * 100, False),
        (["q" * 100], False),
        (["字"], False),
    ],
    ids=["prose", "blank", "long", "many", "a long word", "another script"],
)
def test_only_what_is_sure_to_be_short_is_quick(texts: list[str], quick: bool) -> None:
    """A word's cost grows with the square of its length; what the tokenizer reads itself may cost anything."""
    assert real_encoder(STATIC).quick(texts) is quick


def test_what_is_quick_keeps_no_loop_waiting() -> None:
    """The slowest texts that still count as quick: 4,096 characters in unknown words."""
    encoder, took_s = real_encoder(STATIC), []
    for number in range(5):
        text = " ".join(f"q{number}x{word}z".ljust(24, "qjxz"[word % 4]) for word in range(163))
        assert encoder.quick([text])
        started = time.thread_time()
        encoder.encode([text])
        took_s.append(time.thread_time() - started)
    assert min(took_s) < 0.05
