"""Proxy and certificate authorities for the upstream, from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from services.gateway.process.settings_check import check_settings
from shared.clients.upstream_route import upstream_proxy, upstream_tls
from shared.errors import SettingsError
from shared.settings import Settings, load_settings

PROXY = "http://proxy.example:3128"
KEY = {"OPENROUTER_API_KEY": "sk-test"}


def proxy(upstream: str = "https://api.example/v1", **environment: str) -> str | None:
    """Return the setting that won, and the proxy."""
    found = upstream_proxy(load_settings(environment, None), upstream)
    return None if found is None else f"{found[0]} {found[1].name}"


@pytest.mark.parametrize(
    ("upstream", "environment", "expected"),
    [
        ("https://h/v1", {}, None),
        ("https://h/v1", {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY proxy.example:3128"),
        ("https://h/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://h/v1", {"HTTP_PROXY": PROXY}, "HTTP_PROXY proxy.example:3128"),
        ("http://h/v1", {"HTTPS_PROXY": PROXY}, None),
        ("https://h/v1", {"ALL_PROXY": PROXY}, "ALL_PROXY proxy.example:3128"),
        ("http://h/v1", {"ALL_PROXY": PROXY, "HTTP_PROXY": "http://other:1"}, "HTTP_PROXY other:1"),
        ("https://h/v1", {"https_proxy": PROXY}, "HTTPS_PROXY proxy.example:3128"),
        ("https://h/v1", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "HTTPS_PROXY proxy.example:3128"),
        ("https://h/v1", {"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ("https://h/v1", {"HTTPS_PROXY": "proxy.example:3128"}, "HTTPS_PROXY proxy.example:3128"),
        ("https://h/v1", {"HTTPS_PROXY": "http://proxy.example"}, "HTTPS_PROXY proxy.example:80"),
        ("https://h/v1", {"HTTPS_PROXY": "http://[::1]:8080/"}, "HTTPS_PROXY [::1]:8080"),
        ("https://h/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "h"}, None),
    ],
)
def test_the_variable_is_chosen_as_by_curl(upstream: str, environment: dict[str, str], expected: str | None) -> None:
    """By the upstream's scheme; lower case goes first, an empty one switches off; a missing scheme is http."""
    assert proxy(upstream, **environment) == expected


@pytest.mark.parametrize(
    ("upstream", "listed", "direct"),
    [
        ("https://api.example.com/v1", "example.com", True),
        ("https://api.example.com/v1", ".example.com", True),
        ("https://example.com/v1", ".example.com", True),
        ("https://api.example.com/v1", "*.example.com", True),
        ("https://API.Example.com/v1", "other, EXAMPLE.com", True),
        ("https://notexample.com/v1", "example.com", False),
        ("https://api.example.com/v1", "*", True),
        ("https://api.example.com/v1", "api.example.com:443", True),
        ("https://api.example.com/v1", "api.example.com:8443", False),
        ("https://api.example.com:8443/v1", "example.com:8443", True),
        ("https://10.1.2.3/v1", "10.0.0.0/8", True),
        ("https://11.1.2.3/v1", "10.0.0.0/8", False),
        ("https://10.1.2.3:99/v1", "10.1.2.3:98", False),
        ("https://10.1.2.3:99/v1", "10.1.2.3:99", True),
        ("https://10.1.2.3/v1", "2.3", False),
        ("http://[::1]:8080/v1", "::1", True),
        ("http://[::1]:8080/v1", "[::1]", True),
        ("http://[::1]:8080/v1", "[::1]:8080", True),
        ("http://[::1]:8080/v1", "[::1]:1", False),
        ("http://[2001:db8::5]/v1", "2001:db8::/32", True),
        ("http://localhost:1/v1", "", False),
        ("http://127.0.0.1:1/v1", "", False),
        ("http://127.0.0.1:1/v1", "localhost", False),
        ("https://api.example.com/v1", "a b example.com", True),
        ("https://api.example.com/v1", ",", False),
    ],
)
def test_no_proxy_lists_what_is_reached_directly(upstream: str, listed: str, direct: bool) -> None:
    """Names with what is below them, ports, addresses and networks."""
    assert (proxy(upstream, ALL_PROXY=PROXY, NO_PROXY=listed) is None) is direct


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://user:hunter2@proxy:1080", "socks5:// proxies are not supported"),
        ("socks5h://hunter2", "socks5h:// proxies are not supported"),
        ("https://u:hunter2@proxy:443", "https:// proxies are not supported"),
        ("http://u:hunter2@proxy:99999", "not an address such as"),
        ("http://u:hunter2@", "not an address such as"),
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_stops_the_start(name: str, url: str, words: str) -> None:
    """One line that names the variable, without the password; not where it is not used for the upstream."""
    with pytest.raises(SettingsError, match=f"^{name}: .*{words}") as caught:
        check_settings(load_settings({name: url, **KEY}, None))
    assert "hunter2" not in str(caught.value)
    check_settings(load_settings({name: url, "NO_PROXY": "openrouter.ai", **KEY}, None))


def test_credentials_of_a_proxy_are_shown_nowhere() -> None:
    """Neither by `--check-config` nor in a repr."""
    settings = load_settings({"HTTPS_PROXY": "user:hunter2@proxy:3128", **KEY}, None)
    found = upstream_proxy(settings, settings.OPENROUTER_BASE_URL)
    assert found is not None
    assert found[1].header == "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n"
    assert "hunter2" not in repr(settings) + repr(found) + str(settings.masked())
    assert settings.masked()["HTTPS_PROXY"] == "http://********@proxy:3128"


@pytest.mark.parametrize("name", ["UPSTREAM_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("", "no certificate"), ("-----BEGIN", "no certificate")]
)
def test_a_bundle_that_is_none_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, words: str
) -> None:
    """OpenSSL would ignore SSL_CERT_FILE without a word, and trust no authority."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv(name, str(bundle))
    values = {name: str(bundle)} if name in Settings.model_fields else {}
    with pytest.raises(SettingsError, match=f"^{name}: .*bundle.pem: .*{words}"):
        check_settings(load_settings({**values, **KEY}, None))


def test_a_named_bundle_replaces_the_systems_authorities(tmp_path: Path) -> None:
    """As curl's --cacert does."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = upstream_tls("https://h/v1", tmp_path / "ca.pem")
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] == 1
    assert upstream_tls("http://h/v1", None) is None
