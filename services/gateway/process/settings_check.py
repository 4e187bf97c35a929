"""Settings check: combinations that no single setting can rule out, before anything starts."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from shared.clients.upstream_route import upstream_proxy, upstream_tls
from shared.command_names import as_typed
from shared.errors import SettingsError
from shared.models_file import ModelsFile, models_of
from shared.settings import Settings, variables


def check_settings(settings: Settings) -> ModelsFile:
    """Return MODELS_FILE, or what the settings say without one.

    Raises SettingsError where the file is not valid, or the settings are right one by one but not together.
    """
    file = models_of(settings, variables())
    if settings.MODELS_FILE is None:
        _check_openrouter(settings, asked=next(iter(file.upstreams.values())).is_openrouter)
    for upstream in file.upstreams.values():
        upstream_proxy(settings, upstream.base_url)
        upstream_tls(upstream.base_url, upstream.ca_bundle or settings.UPSTREAM_CA_BUNDLE)
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT is not None and not _installed("opentelemetry.exporter.otlp.proto.http"):
        raise SettingsError(
            as_typed(
                "OTEL_EXPORTER_OTLP_ENDPOINT needs the extra `otel`, which is not installed: "
                "pip install -r deploy/requirements/otel.txt, or for the image: "
                "COMPOSE_REQUIREMENTS=otel.txt docker-compose build"
            )
        )
    return file


def _check_openrouter(settings: Settings, *, asked: bool) -> None:
    if settings.OPENROUTER_API_KEY is None and asked:
        raise SettingsError(
            as_typed(
                "OPENROUTER_API_KEY is required for openrouter.ai. Without a key, `make run` starts a simulated "
                "upstream, and OPENROUTER_BASE_URL may name any other OpenAI-compatible address."
            )
        )
    if settings.OPENROUTER_API_KEY is not None and urlsplit(settings.OPENROUTER_BASE_URL).username is not None:
        raise SettingsError(
            "OPENROUTER_BASE_URL holds a user's name, and OPENROUTER_API_KEY is set: both are sent as Authorization. "
            "Keep one of them."
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
