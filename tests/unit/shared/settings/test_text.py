"""Text settings: ends are stripped, what cannot be seen is refused, and no message repeats a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import SecretStr

from shared.errors import SettingsError
from shared.redaction import mask_address
from shared.settings import Settings, load_settings
from shared.settings.explain import masked
from shared.settings.text import stripped

VALID = {
    "CORS_ORIGINS": "https://app.example",
    "LLM_MODELS": "v/one",
    "KEY_LIMITS": "0123456789abcdef:rpm=60",
    "EVALUATION_OFF_KEYS": "0123abcd",
    "FEEDBACK_SOURCE_KEYS": "0123abcd",
    "MODEL_PRICES": "v/one=1:2",
    "FEEDBACK_LINK_SECRET": "0123456789abcdef",
    "REDIS_URL": "redis://cache:6379/0",
    "DATABASE_URL": "postgresql://db/x",
    **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://proxy:3128"),
}
TEXTS = sorted(
    name
    for name, field in Settings.model_fields.items()
    if field.annotation not in (bool, int, float) and get_origin(field.annotation) is not Literal
    if "float" not in str(field.annotation)
)
HEADER_SECRETS = ("OPENROUTER_API_KEY", "API_KEYS", "ADMIN_API_KEYS", "METRICS_TOKEN", "QDRANT_API_KEY")


def load(name: str, value: str) -> object:
    return getattr(load_settings({name: value}, None), name)


def valid(name: str) -> str:
    return VALID.get(name, "http://host:8080" if name.endswith(("_URL", "_ENDPOINT")) else "word")


def outcome(name: str, value: str) -> str:
    """Return what `--check-config` or the message shows."""
    try:
        return load_settings({name: value}, None).masked()[name]
    except SettingsError as error:
        return str(error)


def plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(plain(item) for item in value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\t", " ", "\u00a0", "\u200b", "\ufeff", "\u2060", " \u200b\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_the_ends_of_every_text_are_stripped(name: str, ends: str) -> None:
    """A line end from a mounted secret, a zero-width space from a web page: the value is what a person sees."""
    assert plain(load(name, ends + valid(name) + ends)) == valid(name)


@pytest.mark.parametrize("inside", ["\0", "\x1b", "\x7f", "\u200b", "\u00ad", "\u202e", "\u3164", "\ufe0f", "\udcff"])
@pytest.mark.parametrize("name", TEXTS)
def test_unseen_characters_inside_are_refused(name: str, inside: str) -> None:
    """In every text setting, with one line that names it."""
    value = valid(name)[:3] + inside + valid(name)[3:]
    with pytest.raises(SettingsError) as caught:
        load(name, value)
    said = str(caught.value)
    assert said.startswith(f"{name}: ")
    assert "character 4 is" in said
    assert said.isprintable(), "one line, without the character itself"


@pytest.mark.parametrize(
    "name", [name for name in TEXTS if get_origin(Settings.model_fields[name].annotation) is not tuple]
)
def test_a_line_end_inside_is_refused(name: str) -> None:
    """Two values in one variable are no value."""
    with pytest.raises(SettingsError, match=rf"^{name}: .*a line end \(U\+000A\)"):
        load(name, f"{valid(name)}\n{valid(name)}")


@pytest.mark.parametrize("between", [",", "\n", "\r\n", " , ", ",\n", "\n\n", "\u200b\n,,", "\u2028"])
def test_lists_are_split_at_commas_and_line_ends(between: str) -> None:
    """A list of one entry a line is a list; empty entries are dropped."""
    keys = load("API_KEYS", f"k1{between}k2{between}")
    assert isinstance(keys, tuple)
    assert [key.get_secret_value() for key in keys] == ["k1", "k2"]
    assert load("LLM_MODELS", f"v/a{between}v/b{between}v/a") == ("v/a", "v/b")


@pytest.mark.parametrize("name", HEADER_SECRETS)
@pytest.mark.parametrize("secret", ["sécret-hunter2", "hunter2\u0430bcdef", "hunter2\u200bxyz", "hunter2\tx"])
def test_what_goes_into_a_header_is_printable_ascii(name: str, secret: str) -> None:
    """An é, a Cyrillic a and a zero-width space look right and are not; the secret is not in the message."""
    with pytest.raises(SettingsError, match=f"^{name}") as caught:
        load(name, secret)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [",", " ,\n, "])
@pytest.mark.parametrize("name", ["API_KEYS", "ADMIN_API_KEYS"])
def test_a_list_of_keys_without_a_key_is_refused(name: str, value: str) -> None:
    """`API_KEYS=$A,$B` with both unset must not open the gateway."""
    with pytest.raises(SettingsError, match=f"^{name}.*names no key"):
        load(name, value)


def test_an_entry_that_is_refused_is_named_once_a_variable_not_shown() -> None:
    """Several bad variables are as many lines, and the good entries of a list are not shown either."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"API_KEYS": "good-hunter2,bäd", "METRICS_TOKEN": "hunter2\x01x", "HOST": "a b"}, None)
    lines = str(caught.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["API_KEYS", "HOST", "METRICS_TOKEN"]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["\n", " ", "\u200b", "\ufeff \t"])
def test_a_value_of_blanks_is_unset(value: str) -> None:
    """As an empty one is."""
    assert load("OPENROUTER_API_KEY", value) is None
    assert load("PORT", value) == 8080


def test_numbers_words_and_paths_are_stripped_too() -> None:
    """One check for all settings, not one for each type."""
    settings = load_settings({"PORT": "81\n", "ENABLE_PERSISTENCE": " true", "LOG_LEVEL": "warn\r\n"}, None)
    assert (settings.PORT, settings.ENABLE_PERSISTENCE, settings.LOG_LEVEL) == (81, True, "warn")
    assert load("SPOOL_DIR", "/var/spool\n") == Path("/var/spool")


def test_blanks_inside_are_kept() -> None:
    """Passphrases and folders have them."""
    assert plain(load("DATABASE_PASSWORD", " correct horse ")) == "correct horse"
    assert load("SPOOL_DIR", "/my data/spool") == Path("/my data/spool")
    assert stripped("") == ""


@pytest.mark.parametrize("model", ["v/a b", "v/é", "x" * 257])
@pytest.mark.parametrize("name", ["LLM_MODELS", "DEFAULT_MODEL"])
def test_a_name_that_no_model_can_have_is_refused(name: str, model: str) -> None:
    """It would be dropped later, in silence."""
    with pytest.raises(SettingsError, match=rf"^{name}: .*name of a model"):
        load(name, model)


SECRET_ADDRESSES = [
    "redis://:hunter2@h:6379/0",
    "redis://:a?hunter2@h",
    "redis://:a#hunter2@h/0",
    "redis://:a://hunter2@h/0",
    "http://u:hunter2@h/?next=http://x",
    "http://h/?key=hunter2",
    "http://h/#hunter2",
    "hunter2:hunter2@h",
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_no_part_of_an_address_that_may_be_secret_is_shown(address: str) -> None:
    """Neither in `--check-config` nor in a message, however broken the address is."""
    assert "hunter2" not in mask_address(address)
    assert "hunter2" not in masked(address) or "://" not in address
    for name in ("REDIS_URL", "QDRANT_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "HOST", "CORS_ORIGINS", "HTTPS_PROXY"):
        assert "hunter2" not in outcome(name, address)


@pytest.mark.parametrize("arguments", [
    ["services.gateway"], ["services.gateway", "--check-config"], ["services.embedder"], ["services.learner"],
    ["deploy.local"],
])  # fmt: skip
def test_every_service_refuses_with_a_line_and_exit_code_2(arguments: list[str], tmp_path: Path, project: Path) -> None:
    """Without a traceback, and all problems in one start."""
    bad = {"OPENROUTER_API_KEY": "hun\nter2", "REDIS_URL": "redis://:p#s@h:6379/0", "QDRANT_URL": "http://h:abc",
           "DATABASE_URL": "postgresql://u:hunter2@h:99999/x", "PYTHONPATH": str(project)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=tmp_path, env={"PATH": os.environ["PATH"], **bad},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(bad.keys() - {"PYTHONPATH"}), done.stderr
    assert "ter2" not in done.stderr + done.stdout


def test_the_modes_of_tls_are_the_settings_own() -> None:
    """`sslmode` in DATABASE_URL is judged by the same list."""
    assert "verify-full" in get_args(Settings.model_fields["DATABASE_SSL_MODE"].annotation)
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: .*sslmode"):
        load("DATABASE_URL", "postgresql://db/x?sslmode=required")
