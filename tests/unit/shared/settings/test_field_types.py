"""Types of text settings: the names of models."""

from __future__ import annotations

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("FREE", "the word `free` in lower case"),
        ("v/a,Free", "the word `free` in lower case"),
        ("v/a;v/b", "no ; in it"),
        ("v/a|v/b", "no | in it"),
        ('["v/a"]', "no [ in it"),
        ("'v/a'", "no ' in it"),
    ],
)
def test_what_is_no_name_of_a_model_is_refused(value: str, words: str) -> None:
    """Other separators than commas, quotes, and `free` in capitals would be taken for names that no upstream has."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"LLM_MODELS": value}, None)
    assert words in str(caught.value)


def test_names_of_models_have_their_usual_signs() -> None:
    """Colons, slashes, at signs, dots and tildes are in names of models that exist."""
    names = ("free", "a/b:free", "models/gemini-2.0", "@cf/meta/llama", "~x/y_z+1")
    settings = load_settings({"LLM_MODELS": ",".join(names)}, None)
    assert names == settings.LLM_MODELS


def test_a_key_is_named_by_the_beginning_of_its_hash() -> None:
    """A key itself, or too little of its hash, is refused before it stays without effect."""
    assert load_settings({"EVALUATION_OFF_KEYS": "0123abcd, 89abcdef89abcdef"}, None).EVALUATION_OFF_KEYS == (
        "0123abcd",
        "89abcdef89abcdef",
    )
    for value in ("0123abc", "0123ABCD", "sk-or-v1-0123abcd", "89abcdef89abcdef0"):
        with pytest.raises(SettingsError) as caught:
            load_settings({"EVALUATION_OFF_KEYS": value}, None)
        assert "first 8 to 16 digits of its SHA-256" in str(caught.value)
        assert value not in str(caught.value)
