"""Compatibility: unmodified OpenAI clients work with the router."""

from __future__ import annotations

import functools

import pytest

from tests.compatibility.clients import CLIENTS, SENT
from tests.compatibility.conftest import KEY, ServedGateway
from tests.support.node_packages import NotInstalled

pytestmark = pytest.mark.timeout(240)  # npm may have to install a package first


@functools.cache
def _results(name: str, base_url: str) -> dict[str, str | None] | NotInstalled:
    try:
        return CLIENTS[name].run(base_url, KEY)
    except NotInstalled as error:
        return error


@pytest.mark.parametrize(
    ("name", "feature"), [(name, feature) for name, client in CLIENTS.items() for feature in client.features]
)
def test_a_client_works_unmodified(gateway: ServedGateway, name: str, feature: str) -> None:
    """Each cell of the table in `docs/api.md`: the client gets what it wants, and the model what the client sent."""
    results = _results(name, gateway.base_url)
    if isinstance(results, NotInstalled):
        pytest.skip(f"NOT TESTED: {CLIENTS[name].name}: {results}")
    assert results[feature] is None
    if feature in SENT:
        bodies = gateway.seen(f"{name} {feature}")
        assert bodies
        assert all(SENT[feature](body) for body in bodies)
