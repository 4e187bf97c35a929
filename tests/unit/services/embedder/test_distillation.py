"""The distiller: the same bytes twice, and each step keeps its law."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from fastembed.common.safetensors_utils import load_safetensors

from services.embedder import distillation as distiller
from services.embedder.distillation import (
    DIMENSION,
    as_safetensors,
    distil,
    inverse_frequency,
    is_special,
    principal_components,
    static_model,
    token_vectors,
    unbounded_tokenizer,
)
from services.embedder.model_files import MANIFEST, TOKENIZER, WEIGHTS, sha256_of, verified
from tests.support.embedder_rig import MODEL_CACHE


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    tokens: dict[str, int] = orjson.loads(verified(TOKENIZER).read_bytes())["model"]["vocab"]
    return sorted(tokens, key=tokens.__getitem__)


def test_distilling_twice_gives_the_same_bytes_whatever_the_threads(
    vocabulary: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice of the vocabulary through the real transformer, with one thread and with two, in several batches."""
    monkeypatch.setattr(distiller, "BATCH", 64)
    part = np.arange(1990, 2190)
    tokens = [vocabulary[position] for position in part]
    tables = []
    for threads in (1, 2):
        vectors = token_vectors(verified(WEIGHTS), part, vocabulary, lambda *_: None, threads)
        tables.append(as_safetensors("embeddings", distil(tokens, vectors, 48)))
    assert tables[0] == tables[1]


def test_the_last_digits_of_another_blas_do_not_show() -> None:
    """Differences of 1e-12, as threads and kernels make them, leave every byte of the table as it was."""
    dice = np.random.default_rng(3)
    tokens = [f"word{n}" for n in range(400)]
    vectors = dice.normal(size=(400, 24)) * np.linspace(1, 3, 24)
    shaken = vectors + dice.normal(size=vectors.shape) * 1e-12
    assert as_safetensors("t", distil(tokens, vectors, 8)) == as_safetensors("t", distil(tokens, shaken, 8))


def test_a_token_has_the_same_vector_in_any_batch(vocabulary: list[str]) -> None:
    """Rows do not depend on their neighbours."""
    part = np.arange(5000, 5040)
    together = token_vectors(verified(WEIGHTS), part, vocabulary, lambda *_: None)
    alone = token_vectors(verified(WEIGHTS), part[7:8], vocabulary, lambda *_: None)
    np.testing.assert_array_equal(together[7:8], alone)


def test_progress_ends_at_the_whole(vocabulary: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress function is called for every batch, and at the end."""
    monkeypatch.setattr(distiller, "BATCH", 8)
    seen: list[tuple[int, int]] = []
    token_vectors(verified(WEIGHTS), np.arange(20), vocabulary, lambda done, total: seen.append((done, total)))
    assert seen == [(8, 20), (16, 20), (20, 20)]


def test_the_cached_model_is_what_its_manifest_says(vocabulary: list[str]) -> None:
    """One row a token, 256 columns, all finite, special tokens zero, every file with its hash."""
    folder = static_model(MODEL_CACHE, lambda *_: None)
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    assert manifest == {name: sha256_of(folder / name) for name in ("model.safetensors", "tokenizer.json")}
    table = load_safetensors(folder / "model.safetensors")["embeddings"]
    assert table.shape == (len(vocabulary), DIMENSION)
    assert np.isfinite(table).all()
    special = np.array([is_special(token) for token in vocabulary])
    assert not table[special].any()
    assert table[~special].any(axis=1).all()


def test_the_cached_model_has_the_geometry_of_the_transformer(vocabulary: list[str]) -> None:
    """Reduced and weighted, tokens keep the centred cosines that the transformer gives them."""
    table = load_safetensors(static_model(MODEL_CACHE, lambda *_: None) / "model.safetensors")["embeddings"]
    part = np.arange(2000, 30000, 200)
    vectors = token_vectors(verified(WEIGHTS), part, vocabulary, lambda *_: None)
    centred = vectors - vectors.mean(axis=0)
    mine, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (table[part], centred))
    pairs = np.triu_indices(len(part), 1)
    assert np.corrcoef((mine @ mine.T)[pairs], (theirs @ theirs.T)[pairs])[0, 1] > 0.95


def test_principal_components_are_orthonormal_ordered_and_of_one_sign() -> None:
    """The sign of an eigenvector is arbitrary; ours is fixed, so rows in another order change nothing."""
    rows = np.random.default_rng(1).normal(size=(500, 12)) * np.arange(1, 13)
    rows -= rows.mean(axis=0)
    components = principal_components(rows, 5)
    np.testing.assert_allclose(components.T @ components, np.eye(5), atol=1e-12)
    variances = (rows @ components).var(axis=0)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(principal_components(rows[::-1], 5), components, atol=1e-9)


def test_rare_words_weigh_more_than_common_ones() -> None:
    """The weight grows with the rank, stays within 0 and 1, and punctuation counts as the commonest."""
    tokens = ["[PAD]", "[CLS]", "!", "7", "字", "the", "of", *(f"word{n}" for n in range(20_000))]
    weights = inverse_frequency(tokens)
    words = weights[5:]
    assert (np.diff(words) > 0).all()
    assert ((weights > 0) & (weights <= 1)).all()
    assert weights[2] == weights[3] == words[0]
    assert words[0] < weights[4] < words[-1]


def test_special_tokens_are_marks_not_brackets() -> None:
    """`[CLS]` is one, a lone bracket is a character."""
    assert [is_special(token) for token in ("[CLS]", "[unused12]", "[", "]", "the", "##ing")] == [True] * 2 + [
        False
    ] * 4


def test_a_tensor_survives_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What fastembed reads is what was written."""
    table = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("tensor") / "t.safetensors"
    path.write_bytes(as_safetensors("embeddings", table))
    np.testing.assert_array_equal(load_safetensors(path)["embeddings"], table)


def test_the_tokenizer_neither_cuts_nor_pads() -> None:
    """The source cuts at 128 tokens, which would silently drop most of a long prompt."""
    source = orjson.loads(verified(TOKENIZER).read_bytes())
    assert source["truncation"]["max_length"] == 128
    ours = orjson.loads(unbounded_tokenizer(source))
    assert (ours["truncation"], ours["padding"]) == (None, None)
    assert ours["model"] == source["model"]


def test_special_tokens_add_nothing_to_a_vector() -> None:
    """Their rows are zeros, whatever the transformer says of them."""
    tokens = ["[CLS]", "the", "of", "[unused1]", "rare"]
    vectors = np.random.default_rng(3).normal(size=(5, 4))
    table = distil(tokens, vectors, 2)
    assert [bool(row.any()) for row in table] == [False, True, True, False, True]
