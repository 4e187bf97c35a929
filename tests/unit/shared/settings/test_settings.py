"""Settings: the seed's names and defaults, one order of precedence, clear refusals, and no secret in any text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.settings import Settings, load_settings

SEED_DEFAULTS = {
    "HOST": "0.0.0.0",
    "PORT": 8080,
    "CORS_ORIGINS": ("*",),
    "OPENROUTER_API_KEY": None,
    "LLM_MODELS": ("free",),
    "DEFAULT_MODEL": "claude-3.5-sonnet",
    "FEEDBACK_WEIGHT": 0.6,
    "LATENCY_WEIGHT": 0.2,
    "COST_WEIGHT": -0.2,
    "EXPLORATION_RATE": 0.1,
    "SIMILARITY_THRESHOLD": 0.7,
    "MAX_SIMILAR_REQUESTS": 50,
    "RECENCY_DAYS": 30,
    "MIN_SIMILAR_REQUESTS": 5,
    "MIN_CONFIDENCE_SCORE": 0.1,
    "OPTIMISTIC_PRIOR": 0.8,
    "EXPLORATION_BONUS": 0.1,
    "MIN_REQUESTS_FOR_GLOBAL": 10,
    "ENABLE_PERSISTENCE": False,
    "DATABASE_URL": None,
    "DATABASE_HOST": "localhost",
    "DATABASE_PORT": 5432,
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "auto",
}
FREE = {"LLM_MODELS": ("free",), "DEFAULT_MODEL": "free"}
PRESETS = {
    "config.default.yaml": {},
    "config.dev.yaml": {"EXPLORATION_RATE": 0.3, "LOG_LEVEL": "debug", "SIMILARITY_THRESHOLD": 0.5, **FREE},
    "config.prod.yaml": {
        "EXPLORATION_RATE": 0.05,
        "LATENCY_WEIGHT": 0.3,
        "ENABLE_PERSISTENCE": True,
        "DATABASE_SSL_MODE": "require",
        "LOG_FORMAT": "json",
    },
    "config.cost-optimized.yaml": {"COST_WEIGHT": -0.8, "FEEDBACK_WEIGHT": 0.8, "EXPLORATION_RATE": 0.15, **FREE},
}
SECRETS = ("OPENROUTER_API_KEY", "API_KEYS", "QDRANT_API_KEY", "DATABASE_URL", "DATABASE_PASSWORD")


def load(environment: dict[str, str] | None = None, file: Path | None = None, dotenv: Path | None = None) -> Settings:
    """Load from what is given alone."""
    given_file = {"CONFIG_FILE": str(file)} if file else {}
    return load_settings({**given_file, **(environment or {})}, dotenv)


def test_defaults_are_the_seeds() -> None:
    """Without any setting the defaults are those of the seed's tables."""
    settings = load()
    assert {name: getattr(settings, name) for name in SEED_DEFAULTS} == SEED_DEFAULTS


def test_environment_beats_dotenv_beats_file_beats_default(tmp_path: Path) -> None:
    """Precedence: environment, then .env, then CONFIG_FILE, then the default."""
    file, dotenv = tmp_path / "config.yaml", tmp_path / ".env"
    file.write_text("PORT: 1001\nMAX_SIMILAR_REQUESTS: 11\nLOG_LEVEL: error\n")
    dotenv.write_text("PORT=1002\nMAX_SIMILAR_REQUESTS=12\n")
    settings = load({"PORT": "1003"}, file, dotenv)
    assert (settings.PORT, settings.MAX_SIMILAR_REQUESTS, settings.LOG_LEVEL, settings.DATABASE_PORT) == (
        1003, 12, "error", 5432,
    )  # fmt: skip


def test_dotenv_may_name_the_config_file(tmp_path: Path) -> None:
    """CONFIG_FILE works from .env, and the environment's CONFIG_FILE beats it."""
    one, two, dotenv = tmp_path / "one.yaml", tmp_path / "two.yaml", tmp_path / ".env"
    one.write_text("PORT: 1\n")
    two.write_text("PORT: 2\n")
    dotenv.write_text(f"CONFIG_FILE={one}\n")
    assert load(dotenv=dotenv).PORT == 1
    assert load(file=two, dotenv=dotenv).PORT == 2


def test_an_empty_value_is_unset(tmp_path: Path) -> None:
    """An empty variable never overrides, wherever it stands: compose passes empty ones for all that is not given."""
    file = tmp_path / "config.yaml"
    file.write_text("PORT: 1001\nHOST:\nLOG_LEVEL: ~\n")
    settings = load({"PORT": "", "OPENROUTER_API_KEY": ""}, file)
    assert (settings.PORT, settings.HOST, settings.LOG_LEVEL) == (1001, "0.0.0.0", "info")
    assert settings.OPENROUTER_API_KEY is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_what_the_seed_promises(name: str, project: Path) -> None:
    """Each preset loads and differs from the defaults in exactly what the seed lists for it."""
    settings, default = load(file=project / "deploy" / name), load()
    changed = {key: getattr(settings, key) for key in Settings.model_fields if key in PRESETS[name]}
    assert changed == PRESETS[name]
    untouched = set(Settings.model_fields) - set(PRESETS[name])
    assert all(getattr(settings, key) == getattr(default, key) for key in untouched)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_env_files_too(name: str, project: Path) -> None:
    """Every line is one that docker compose's parser of env files and YAML read alike: a name, a colon, plain text."""
    for line in (project / "deploy" / name).read_text().splitlines():
        assert line == "" or line.startswith("#") or re.fullmatch(r"[A-Z_]+: [^\s'\"#$\\]+", line), line


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EXPLORATION_RATE", "1.5", "a number, 0 to 1"),
        ("EXPLORATION_RATE", "nan", "a number, 0 to 1"),
        ("COST_WEIGHT", "0.2", "a number, -1 to 0"),
        ("BODY_TIMEOUT_S", "0", "a number, above 0, at most 600"),
        ("BODY_TIMEOUT_S", "inf", "a number, above 0, at most 600"),
        ("PORT", "eighty", "a whole number, 1 to 65535"),
        ("PORT", "true", "a whole number, 1 to 65535"),
        ("SPOOL_MAX_BYTES", "-1", "a whole number, 0 or more"),
        ("ENABLE_PERSISTENCE", "perhaps", "true or false"),
        ("LOG_LEVEL", "loud", "one of debug, info, warn, error"),
        ("QDRANT_URL", "localhost:6333", "http:// or https:// and a host"),
        ("LLM_MODELS", ",", "one model or more, with commas"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "file", "dotenv"])
def test_a_bad_value_is_refused_in_words(source: str, name: str, value: str, words: str, tmp_path: Path) -> None:
    """The one message names key, value and what is allowed, wherever the value came from."""
    path = tmp_path / "source"
    path.write_text(f"{name}={value}\n" if source == "dotenv" else f'{name}: "{value}"\n')
    with pytest.raises(SettingsError) as caught:
        load({name: value}) if source == "environment" else load(
            file=path if source == "file" else None, dotenv=path if source == "dotenv" else None
        )
    assert str(caught.value) == f"{name}: '{value}' is not allowed; it must be {words}"


def test_all_problems_are_reported_together() -> None:
    """Two mistakes are two lines of one message, not two starts."""
    with pytest.raises(SettingsError) as caught:
        load({"PORT": "0", "COST_WEIGHT": "1"})
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == ["COST_WEIGHT", "PORT"]


@pytest.mark.parametrize("source", ["file", "dotenv"])
def test_an_unknown_name_is_refused(source: str, tmp_path: Path) -> None:
    """A name that is no setting stops the start; the file and the one that was meant are named, its value is not."""
    path = tmp_path / "source"
    path.write_text("EXPLORATON_RATE=0.31\n" if source == "dotenv" else "EXPLORATON_RATE: 0.31\n")
    with pytest.raises(SettingsError) as caught:
        load(file=path if source == "file" else None, dotenv=path if source == "dotenv" else None)
    place = f"CONFIG_FILE {path}" if source == "file" else str(path)
    assert str(caught.value) == f"EXPLORATON_RATE in {place} is not a setting; did you mean EXPLORATION_RATE?"


def test_an_unknown_name_with_unseen_characters_is_shown_in_one_line(tmp_path: Path) -> None:
    """`PORT` with a zero-width space looks like PORT; the message shows what is there."""
    path = tmp_path / "source"
    path.write_text('PORT\u200b: 1\n"A\\nB": 2\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(file=path)
    first, second = str(caught.value).split("\n")
    assert first.startswith(rf"'PORT\u200b' in CONFIG_FILE {path} is not a setting; did you mean PORT")
    assert second.startswith(rf"'A\nB' in CONFIG_FILE {path} is not a setting")


def test_compose_variables_in_dotenv_are_left_alone(tmp_path: Path) -> None:
    """The same .env serves docker compose, which has variables of its own."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("COMPOSE_PROFILES=simulated\nCOMPOSE_PROJECT_NAME=x\nPORT=1002\n")
    assert load(dotenv=dotenv).PORT == 1002


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "flat YAML"),
        ("just text\n", "flat YAML"),
        ("LLM_MODELS: [a, b]\n", "line 1: write `NAME: value`"),
        ("PORT: 1\nBANDIT:\n  RATE: 1\n", "line 2: write `NAME: value`"),
        ("PORT: 1\nPORT: 2\n", "line 2: PORT is set twice"),
        ("PORT: 1\nDATABASE_PASSWORD: 'hunter2\n", "is not YAML"),
    ],
)
def test_a_file_in_another_form_is_refused(content: str, message: str, tmp_path: Path) -> None:
    """A CONFIG_FILE that is not `NAME: value` lines is refused with its line, and not quoted: it may hold secrets."""
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        load(file=file)
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A CONFIG_FILE that is not there is an error, never a silent default."""
    with pytest.raises(SettingsError, match=r"CONFIG_FILE .*absent.yaml cannot be read"):
        load(file=tmp_path / "absent.yaml")


def test_secrets_are_masked_everywhere() -> None:
    """No text made of the settings holds a key, a password or credentials of an address."""
    environment = dict.fromkeys(SECRETS, "hunter2") | {
        "REDIS_URL": "redis://user:hunter2@cache:6379/0",
        "QDRANT_URL": "https://hunter2@vectors:6333/",
        "OPENROUTER_BASE_URL": "https://a:hunter2@example.test/v1?api-key=hunter2",
        "DATABASE_URL": "postgresql://a:hunter2@db/x",
    }
    settings = load(environment)
    for text in (repr(settings), str(settings), f"{settings!r}", str(settings.masked()), repr([settings])):
        assert "hunter2" not in text
    assert settings.masked()["REDIS_URL"] == "redis://********@cache:6379/0"
    assert settings.OPENROUTER_API_KEY is not None
    assert settings.OPENROUTER_API_KEY.get_secret_value() == "hunter2"


@pytest.mark.parametrize("url", ["hunter2", "ftp://a:hunter2@b", "a:hunter2@b", "ftp://b?password=hunter2"])
def test_a_refused_address_shows_no_credentials(url: str) -> None:
    """An error message about an address is safe to paste into a ticket."""
    with pytest.raises(SettingsError) as caught:
        load({"REDIS_URL": url})
    assert "hunter2" not in str(caught.value) or url == "hunter2"  # without @ or ? there is nothing that marks a secret


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), st.text(max_size=20), max_size=4))
def test_any_text_is_accepted_or_explained(environment: dict[str, str]) -> None:
    """Whatever the values are, loading gives settings or a SettingsError with one line for each bad one."""
    try:
        load(environment)
    except SettingsError as error:
        named = [line.split(":")[0] for line in str(error).split("\n")]
        assert set(named) <= set(environment)


def test_every_description_is_a_sentence_for_the_readme() -> None:
    """No setting is without a word on what it does."""
    assert all(field.description for field in Settings.model_fields.values())


def test_a_threshold_of_one_still_lets_the_same_prompt_match() -> None:
    """The whole range of the seed is accepted; float32 cosines of equal vectors may stay a hair below 1."""
    threshold = load({"SIMILARITY_THRESHOLD": "1"}).bandit().similarity_threshold
    vector = np.full(256, 1 / 16, dtype=np.float32) * np.float32(0.99999997)
    assert 0.99 < threshold < float(vector @ vector)


ANNOUNCED = {"JUDGE_RUBRIC", "CONTROL_SHARE"}
"""Settings whose readers are being built. Remove this set with the last of them."""


def test_no_setting_is_dead(project: Path) -> None:
    """Each setting is read by some code."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("services", "shared")
        for path in (project / folder).rglob("*.py")
        if path.name != "settings.py"
    )
    derived = [Settings.bandit, *(vars(Settings)[name].fget for name in ("history_bound", "prompt_chars"))]
    code += "".join(inspect.getsource(method) for method in derived)
    unread = {name for name in Settings.model_fields if not re.search(rf"\.{name}\b", code)}
    assert unread - ANNOUNCED == set()


DECISIVE = {
    "LLM_MODELS": "a/b", "DEFAULT_MODEL": "a/b", "FEEDBACK_WEIGHT": "0.7", "LATENCY_WEIGHT": "0.7",
    "COST_WEIGHT": "-0.7", "EXPLORATION_RATE": "0.7", "SIMILARITY_THRESHOLD": "0.6", "MAX_SIMILAR_REQUESTS": "7",
    "RECENCY_DAYS": "7", "MIN_SIMILAR_REQUESTS": "7", "MIN_CONFIDENCE_SCORE": "0.7", "OPTIMISTIC_PRIOR": "0.7",
    "EXPLORATION_BONUS": "0.7", "MIN_REQUESTS_FOR_GLOBAL": "7", "SAFE_START": "true", "EXPLORATION_BUDGET_USD": "7",
    "SESSION_MARGIN": "0.7",
    "SHADOW_MODE": "true", "MODEL_PRICES": "a/b=1:2", "CONTROL_SHARE": "0.1",
}  # fmt: skip


@pytest.mark.parametrize("name", DECISIVE)
def test_each_setting_that_shapes_a_decision_changes_the_hash(name: str) -> None:
    """Two records with one hash were decided alike; a port or a log level changes nothing."""
    default = load_settings({"LLM_MODELS": "a/c"}, None).decisive_hash()
    assert load_settings({"LLM_MODELS": "a/c", name: DECISIVE[name]}, None).decisive_hash() != default
    assert load_settings({"LLM_MODELS": "a/c", "PORT": "9000", "LOG_LEVEL": "debug"}, None).decisive_hash() == default


@pytest.mark.parametrize("stored", ["true", "false"])
@pytest.mark.parametrize("history", ["true", "false"])
def test_prompts_are_kept_only_where_both_settings_say_so(stored: str, history: str) -> None:
    """STORE_PROMPTS alone, or a history alone, keeps no prompt anywhere."""
    given = {"STORE_PROMPTS": stored, "ENABLE_PERSISTENCE": history, "EMBED_MAX_CHARS": "77"}
    assert load_settings(given, None).prompt_chars == (77 if stored == history == "true" else 0)
