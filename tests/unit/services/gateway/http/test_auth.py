"""Authentication: keys, operators, and ambiguous headers."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.gateway.http.auth import Access, digest_of
from services.gateway.http.client_addresses import Addresses
from services.gateway.http.middlewares import _target
from services.gateway.http.routes import all_routes
from shared.errors import Forbidden, Unauthenticated
from shared.settings import load_settings

CHAT = "/v1/chat/completions"


def access(**settings: str) -> Access:
    return Access(load_settings(settings, None))


def bearer(key: str) -> CIMultiDict[str]:
    return CIMultiDict({"Authorization": f"Bearer {key}"})


def test_operators_are_those_with_an_admin_key_where_there_is_one() -> None:
    """Without API_KEYS every caller may chat; that does not make them operators."""
    no_key: CIMultiDict[str] = CIMultiDict()
    assert access().admit(no_key, "/health").operator
    guarded = access(ADMIN_API_KEYS="admin-key")
    assert not guarded.admit(no_key, "/health").operator
    assert guarded.admit(bearer("admin-key"), "/health").operator
    both = access(ADMIN_API_KEYS="admin-key", API_KEYS="user-key")
    assert not both.admit(bearer("user-key"), "/health").operator
    assert access(API_KEYS="user-key").admit(bearer("user-key"), "/health").operator


def test_scores_of_other_sources_need_a_key_that_may() -> None:
    """An admin's, or one that FEEDBACK_SOURCE_KEYS names; without any key nobody is refused."""
    route, no_key = "/feedback", CIMultiDict[str]()
    assert access().admit(no_key, route).any_source
    assert not access(ADMIN_API_KEYS="admin-key").admit(no_key, route).any_source
    both = {"ADMIN_API_KEYS": "admin-key", "API_KEYS": "user-key,other-key"}
    may = access(**both, FEEDBACK_SOURCE_KEYS=digest_of("user-key")[:8])
    assert [may.admit(bearer(key), route).any_source for key in ("admin-key", "user-key", "other-key")] == [
        True, True, False
    ]  # fmt: skip
    assert not access(**both).admit(bearer("user-key"), route).any_source
    assert not access(API_KEYS="user-key").admit(bearer("user-key"), route).any_source


def test_two_keys_are_none() -> None:
    """Which of them counts would be a guess, and another server could guess otherwise."""
    headers = CIMultiDict([("Authorization", "Bearer user-key"), ("Authorization", "Bearer other")])
    with pytest.raises(Unauthenticated):
        access(API_KEYS="user-key").admit(headers, CHAT)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    """RFC 9110, 11.1."""
    headers = CIMultiDict({"Authorization": f"{scheme} user-key"})
    assert access(API_KEYS="user-key").admit(headers, CHAT).owner != "public"


def test_users_do_not_change_the_models() -> None:
    """With keys of any kind, only admins may."""
    with pytest.raises(Forbidden):
        access(API_KEYS="user-key").admit(bearer("user-key"), "/v1/arms/{arm}")


class Peer(asyncio.BaseTransport):
    """A connection from one address."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 1234)})


def test_nothing_is_kept_of_an_address_without_connections() -> None:
    """A gateway that serves the whole world must not remember each address of it."""
    addresses, peers = Addresses(), [Peer(f"10.0.0.{number % 4}") for number in range(8)]
    for peer in peers:
        addresses.add(peer, peer)
    assert addresses.held_by(peers[0]) == 2
    for peer in peers:
        addresses.remove(peer)
    assert addresses.held_by(peers[0]) == 0
    assert not cast("dict[str, int]", addresses._held)
    first, second = (Peer(f"2001:db8:1:2::{number}") for number in (1, 2))
    addresses.add(first, first)
    assert addresses.held_by(second) == 1, "a client has a whole /64"
    assert addresses.held_by(Peer("2001:db8:1:3::1")) == 0


async def test_a_path_that_does_not_exist_is_404_without_a_key() -> None:
    """Which paths exist is public; 401 would make a client look for a fault in its key."""
    for path, method, public in (
        ("/v1/nothing", "GET", True),
        ("/v1/models", "PATCH", True),
        ("/v1/models", "GET", False),
    ):
        app = web.Application()
        app.add_routes(all_routes())
        request = make_mocked_request(method, path, app=app)
        found = await app.router.resolve(request)
        request._match_info = found
        assert _target(request).is_public is public
