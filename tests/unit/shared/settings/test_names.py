"""A mistyped setting in the environment stops the start; what belongs to other programs does not."""

from __future__ import annotations

import os

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, load_settings

MISTYPED = {
    "EXPLORATON_RATE": "EXPLORATION_RATE",
    "LLM_MODEL": "LLM_MODELS",
    "API_KEY": "API_KEYS",
    "ADMIN_API_KEY": "ADMIN_API_KEYS",
    "OPENROUTER_APIKEY": "OPENROUTER_API_KEY",
    "OPEN_ROUTER_API_KEY": "OPENROUTER_API_KEY",
    "DEFAULT_MODELS": "DEFAULT_MODEL",
    "DATABASE_SSLMODE": "DATABASE_SSL_MODE",
    "CORS_ORIGIN": "CORS_ORIGINS",
    "safe_start": "SAFE_START",
    "COST-WEIGHT": "COST_WEIGHT",
}
OTHERS = (
    # shells, systems, containers
    *("HOSTNAME", "HOST_NAME", "HOSTS", "PORTS", "PORT_", "port", "host", "HOSTTYPE", "LOGNAME", "PATH", "HOME", "PWD"),
    *("LANG", "TERM", "SHLVL", "USER", "TMPDIR", "DISPLAY", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS"),
    *("PYTHONPATH", "PYTHONUNBUFFERED", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "SSL_CERT_FILE", "CI", "PROGRESS_BAR"),
    *("FTP_PROXY", "ftp_proxy", "SOCKS_PROXY", "DOCKER_HOST", "CONTAINER_ID"),
    # Kubernetes and docker links, for services of these names
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_PORT", "REDIS_PORT", "REDIS_HOST", "REDIS_SERVICE_PORT"),
    *("REDIS_PORT_6379_TCP_ADDR", "QDRANT_PORT", "QDRANT_SERVICE_HOST", "QDRANT_PORT_6333_TCP", "GATEWAY_PORT"),
    *("EMBEDDER_SERVICE_HOST", "EMBEDDER_PORT_8081_TCP", "LEARNER_SERVICE_PORT", "POSTGRES_PORT", "POSTGRES_PASSWORD"),
    # other programs
    *("LOGLEVEL", "LOG", "DEBUG", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "PGHOST", "PGPASSWORD"),
    *("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_SERVICE_NAME", "DB_HOST"),
    *("COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "PROMETHEUS_MULTIPROC_DIR", "HF_HOME", "MODEL_NAME", "TIMEOUT"),
)


@pytest.mark.parametrize("name", MISTYPED)
def test_a_near_miss_stops_the_start(name: str) -> None:
    """With the setting that was meant, and without the value."""
    with pytest.raises(SettingsError) as caught:
        load_settings({name: "hunter2"}, None)
    assert str(caught.value) == f"{name} in the environment is not a setting; did you mean {MISTYPED[name]}?"


def test_it_is_one_of_all_the_problems() -> None:
    """A bad value beside it is said in the same start."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"EXPLORATON_RATE": "1", "PORT": "x"}, None)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_others_do_not(name: str) -> None:
    """Shells, orchestrators and libraries set many names."""
    assert load_settings({name: "x"}, None) == load_settings({}, None)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "No_Proxy", "all_proxy"])
def test_proxies_are_named_in_either_case(name: str) -> None:
    """As every program reads them."""
    assert load_settings({name.lower(): "proxy.example"}, None)
    assert load_settings({name.upper(): "proxy.example"}, None)


def test_the_environment_of_this_process_does_not() -> None:
    """Whatever the tests run in."""
    assert load_settings({name: value for name, value in os.environ.items() if name not in Settings.model_fields}, None)


def test_a_near_miss_of_a_setting_that_is_set_belongs_to_another_program() -> None:
    """Also where it is set in a file; an empty variable says nothing."""
    assert load_settings({"API_KEY": "other", "API_KEYS": "k"}, None).API_KEYS
    assert load_settings({"API_KEY": ""}, None)
