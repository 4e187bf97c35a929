"""Address of a proxy: credentials are sent, and not shown."""

from __future__ import annotations

from shared.quick_http.proxy import Proxy


def test_a_proxys_password_is_sent_and_not_shown() -> None:
    """Settings and errors print the proxy: they show where it is."""
    proxy = Proxy.of_url("http://me:p%40ss@proxy.example:3128")
    assert proxy.header == "Proxy-Authorization: Basic bWU6cEBzcw==\r\n"
    assert repr(proxy) == f"{proxy}" == "Proxy(proxy.example:3128)"
