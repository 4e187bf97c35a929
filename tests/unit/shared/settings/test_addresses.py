"""Addresses in settings: parsed whole at the start, so that each can be connected to."""

from __future__ import annotations

import pytest

from services.gateway.process.settings_check import check_settings
from shared.errors import SettingsError
from shared.settings import load_settings

HTTP = ("OPENROUTER_BASE_URL", "QDRANT_URL", "EMBEDDER_URL", "OTEL_EXPORTER_OTLP_ENDPOINT")
GOOD = (
    "http://h", "https://h.example:1/", "http://my_service:65535/a/b", "http://127.0.0.1:8080", "http://[::1]:80/v1",
    "http://[2001:db8::1]", "https://u:p%40s@h/x", "http://h./a%20b", "HTTP://H",
)  # fmt: skip
BAD = (
    "http://up:99999/v1", "http://h:0", "http://h:abc", "http://h:", "http://h:-1", "http://h:8 0", "http://[::1",
    "http://::1", "http://[::1]x:80", "http://[hello]", "https://openrouter.ai /api/v1", "https://openrouter.ai/a b",
    "http://a..b", "http://.a", "http://-a", f"http://{'a' * 64}", "http://999.1.1.1", "http://1.2.3.4.5",
    "http://", "http:///x", "http://:80", "http://@", "http://exämple.de", "http://h/ü", "http://h/a%2", "http://h#x",
    "http://h/#", "http://u:p#s@h/v1", "http://u:p/s@h/v1", "http://u:p?s@h/v1", "http://h/<x>", "http://h\\x",
    "http://h,i", "http://a:b:c",
)  # fmt: skip


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("url", GOOD)
def test_addresses_that_can_be_dialled_are_taken_as_they_are(name: str, url: str) -> None:
    """With ports, paths, IPv6, user info and trailing dots."""
    assert getattr(load_settings({name: url}, None), name) == url


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("url", BAD)
def test_impossible_addresses_are_refused_by_name(name: str, url: str) -> None:
    """In one line, and never by a traceback at the first call."""
    with pytest.raises(SettingsError, match=rf"^{name}: [^\n]+\Z"):
        load_settings({name: url}, None)


@pytest.mark.parametrize("name", ["QDRANT_URL", "EMBEDDER_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_query_that_would_be_dropped_is_refused(name: str) -> None:
    """Only the upstream's goes out with each call."""
    with pytest.raises(SettingsError, match=rf"^{name}: .*query"):
        load_settings({name: "http://h:1/x?api-version=1"}, None)
    assert load_settings({"OPENROUTER_BASE_URL": "http://h/v1?api-version=1"}, None)
    with pytest.raises(SettingsError, match=r"^OPENROUTER_BASE_URL: .*percent-encoded"):
        load_settings({"OPENROUTER_BASE_URL": 'http://h/v1?a=é"<>'.replace("é", "")}, None)


def test_the_base_url_is_without_the_path_of_the_api() -> None:
    """It would be called twice."""
    with pytest.raises(SettingsError, match=r"^OPENROUTER_BASE_URL: .*without /chat/completions"):
        load_settings({"OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1/chat/completions"}, None)


def test_two_authorizations_for_the_upstream_are_refused() -> None:
    """User info is sent as one, the key as another."""
    url = {"OPENROUTER_BASE_URL": "http://u:p@h/v1"}
    check_settings(load_settings(url, None))
    with pytest.raises(SettingsError, match="OPENROUTER_API_KEY"):
        check_settings(load_settings({**url, "OPENROUTER_API_KEY": "sk-x"}, None))


@pytest.mark.parametrize("url", [
    "redis://h", "redis://h:6379/0", "redis://:p%40s%23@h:6379/15", "redis://:p@s@h:6379", "rediss://u:p@h/",
    "redis://[::1]:6379/0", "unix:///run/redis.sock", "unix:///run/redis.sock?db=1", "redis://h/0?socket_timeout=1.5",
])  # fmt: skip
def test_redis_addresses_that_its_client_takes(url: str) -> None:
    """By host, by file, with a password of any characters that are encoded, and with the client's options."""
    settings = load_settings({"REDIS_URL": url}, None)
    assert url == settings.REDIS_URL


@pytest.mark.parametrize(("url", "words"), [
    ("redis://:p#s@h:6379/0", "%23"), ("redis://:p/s@h:6379/0", "%2F"), ("redis://:p?s@h:6379/0", "%3F"),
    ("redis://:12#s@h:6379/0", "%23"), ("redis://u:12?x@h", "%3F"), ("redis://u:12/x@h", "%2F"),
    ("redis://h:99999/0", "port"), ("redis://h:x/0", "port"), ("redis://:6379", "host is missing"),
    ("redis://h/abc", "number of the database"), ("redis://h/0/1", "number of the database"),
    ("redis://h/0?nothing=1", "options"), ("redis://h/0?socket_timeout=x", "options"), ("redis://h h:1", "blank"),
    ("unix://", "socket is missing"), ("http://h", "redis://, rediss:// or unix://"), ("redis:h", "redis://"),
    ("redis://[::1:6379/0", "IPv6"), ("redis://a..b", "neither a name"),
])  # fmt: skip
def test_redis_addresses_that_cannot_be(url: str, words: str) -> None:
    """The message says what is wrong, and how to write a password."""
    with pytest.raises(SettingsError, match=r"^REDIS_URL: [^\n]+\Z") as caught:
        load_settings({"REDIS_URL": url}, None)
    assert words in str(caught.value)


@pytest.mark.parametrize("url", [
    "postgresql://u:p%40@h:5432/x", "postgres:///x?host=/var/run/postgresql", "host=h port=5432 dbname=x",
    "postgresql://a,b:5433/x?sslmode=require", "postgresql://u:p#s@h/x",
])  # fmt: skip
def test_database_addresses_that_libpq_takes(url: str) -> None:
    """URLs and `key=value` strings."""
    value = load_settings({"DATABASE_URL": url}, None).DATABASE_URL
    assert value is not None
    assert value.get_secret_value() == url


@pytest.mark.parametrize("url", [
    "hunter2", "postgresql+psycopg://u:hunter2@h/x", "postgresql://u:hunter2@h:99999/x", "postgresql://u:hunter2@h:x/y",
    "postgresql://h/x?hunter2=1", "postgresql://u:hunter2@[::1/x", "host=h port=hunter2", "postgresql://u:hunter2/s@h/x",
    "mysql://u:hunter2@h/x",
])  # fmt: skip
def test_database_addresses_that_cannot_be(url: str) -> None:
    """libpq's own words quote the string, so they are not passed on."""
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: [^\n]+\Z") as caught:
        load_settings({"DATABASE_URL": url}, None)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["HOST", "EMBEDDER_HOST", "LEARNER_HOST", "DATABASE_HOST"])
@pytest.mark.parametrize("host", ["a b", "http://h", "h:80", "[::1", "999.1.1.1", "h/x", "a@b", "h,"])
def test_a_host_is_a_host(name: str, host: str) -> None:
    """Neither an address nor a port belongs there."""
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load_settings({name: host}, None)


def test_hosts_to_listen_on_and_of_the_database() -> None:
    """IPv6 in brackets is the same address; libpq takes several hosts, and folders of sockets."""
    for host, meant in (("[::1]", "::1"), ("::", "::"), ("0.0.0.0", "0.0.0.0"), ("my-host.example", "my-host.example")):
        settings = load_settings({"HOST": host}, None)
        assert meant == settings.HOST
    for host in ("/var/run/postgresql", "a,b", "10.0.0.1"):
        settings = load_settings({"DATABASE_HOST": host}, None)
        assert host == settings.DATABASE_HOST


@pytest.mark.parametrize(("said", "meant"), [
    ("*", ("*",)), ("null", ("null",)), ("https://a:443,http://b:80,http://c:443", ("https://a", "http://b", "http://c:443")),
    ("https://App.example/", ("https://app.example",)), ("http://localhost:3000", ("http://localhost:3000",)),
    ("capacitor://localhost,https://[::1]:1", ("capacitor://localhost", "https://[::1]:1")),
])  # fmt: skip
def test_origins_are_as_browsers_write_them(said: str, meant: tuple[str, ...]) -> None:
    """In lower case and without a slash at the end, or they would never match."""
    settings = load_settings({"CORS_ORIGINS": said}, None)
    assert meant == settings.CORS_ORIGINS


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/x", "https://*.example", "https://", "https://a b"]
)
def test_origins_that_never_match_are_refused(origin: str) -> None:
    """A path, a pattern or no scheme: no browser sends that."""
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS: "):
        load_settings({"CORS_ORIGINS": origin}, None)
