"""DNS rebinding: without keys, a web page is served only under names that a rebound page cannot have."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest
from multidict import CIMultiDict

from services.gateway.http.auth import CHANGING_ROUTES, OPEN_ROUTES, Access
from services.gateway.http.fast_chat import PlainHeaders
from services.gateway.http.routes import all_routes
from services.gateway.request_context import Caller
from shared.errors import Forbidden, Unauthenticated
from shared.settings import load_settings

CHAT = "/v1/chat/completions"
PAGE = {"Origin": "http://evil.example"}
PAGES = (
    PAGE,
    {"Origin": "null"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-User": "?1"},
    {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
)
PROGRAMS: tuple[dict[str, str], ...] = (
    {},
    {"User-Agent": "curl/8.5.0"},
    {"User-Agent": "OpenAI/JS 5.1.0", "Sec-Fetch-Mode": "cors", "Accept-Language": "*"},  # Node's fetch
)
OWN_NAMES = (
    "localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "app.localhost:8080", "127.0.0.1", "127.1.2.3:8080",
    "[::1]:8080", "[::1]", "192.168.1.5:8080", "10.0.0.1", "[fe80::1]:80", "203.0.113.9:8080",
)  # fmt: skip
FOREIGN_NAMES = (
    "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "",
    "evil.example:8080@localhost", "localhost evil", "[::1].evil.example", "0x7f.1", "127.0.0.1:80:80",
)  # fmt: skip


def admit(headers: Mapping[str, str], route: str = CHAT, **settings: str) -> Caller:
    """Ask by both kinds of headers: aiohttp's, and the fast path's."""
    access = Access(load_settings(settings, None))
    plain = PlainHeaders({name.lower(): value for name, value in headers.items()})
    outcomes: list[Caller | Exception] = []
    for sent in (CIMultiDict(headers), plain):
        try:
            outcomes.append(access.admit(sent, route))
        except (Forbidden, Unauthenticated) as error:
            outcomes.append(error)
    first, second = outcomes
    assert str(first) == str(second)
    if isinstance(first, Exception):
        raise first
    return first


@pytest.mark.parametrize(("page", "host"), [*product(PAGES, FOREIGN_NAMES)])
def test_a_page_under_a_foreign_name_is_refused(page: dict[str, str], host: str) -> None:
    """With an error that names the setting, and not the host."""
    with pytest.raises(Forbidden, match="ALLOWED_HOSTS") as caught:
        admit({**page, "Host": host})
    assert caught.value.code == "host_not_allowed"
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(("sent", "host"), [*product(PAGES, OWN_NAMES), *product(PROGRAMS, FOREIGN_NAMES)])
def test_pages_under_own_names_and_programs_are_served(sent: dict[str, str], host: str) -> None:
    """No page has an address or a loopback name as its own, and programs are not rebound."""
    assert admit({**sent, "Host": host}) == Caller(operator=True, any_source=True)


def test_a_host_that_is_sent_twice_is_foreign() -> None:
    """Or left out: no browser does either."""
    access = Access(load_settings({}, None))
    for hosts in ((), ("localhost", "evil.example")):
        with pytest.raises(Forbidden):
            access.admit(CIMultiDict([*PAGE.items(), *(("Host", host) for host in hosts)]), CHAT)


@pytest.mark.parametrize(("allowed", "host", "served"), [
    ("router.example", "router.example", True), ("router.example", "Router.Example.:8080", True),
    ("Router.example:8080", "router.example:8080", True), ("router.example:8080", "router.example:8081", False),
    ("router.example:8080", "router.example", False), ("router.example:443", "router.example", True),
    ("router.example", "evil.router.example", False), ("*", "evil.example", True), ("a.example,*", "", True),
])  # fmt: skip
def test_allowed_hosts_are_served(allowed: str, host: str, served: bool) -> None:
    """With their port or with any; browsers leave out 80 and 443."""
    if served:
        assert admit({**PAGE, "Host": host}, ALLOWED_HOSTS=allowed).operator
    else:
        with pytest.raises(Forbidden):
            admit({**PAGE, "Host": host}, ALLOWED_HOSTS=allowed)


@pytest.mark.parametrize("route", sorted({route.path for route in all_routes()}))
def test_every_route_that_tells_something_is_guarded(route: str) -> None:
    """Those that are open to strangers where there are keys stay open, and tell no more than they do there."""
    route = route.replace(":.+}", "}")
    foreign = {**PAGE, "Host": "evil.example"}
    if route in OPEN_ROUTES:
        assert admit(foreign, route) == Caller()
        assert admit({"Host": "evil.example"}, route).operator
    else:
        with pytest.raises(Forbidden):
            admit(foreign, route)


def test_keys_go_before_the_name() -> None:
    """A page that has a key is no stranger's; without one it hears that it needs one, or is guarded as without keys."""
    foreign = {**PAGE, "Host": "evil.example"}
    keyed = {**foreign, "Authorization": "Bearer k"}
    assert admit(keyed, API_KEYS="k").owner != "public"
    assert admit(keyed, ADMIN_API_KEYS="k").admin
    with pytest.raises(Unauthenticated):
        admit(foreign, API_KEYS="k")
    with pytest.raises(Forbidden, match="ALLOWED_HOSTS"):
        admit(foreign, ADMIN_API_KEYS="k")
    assert admit({"Authorization": "Bearer t", **foreign}, "/metrics", METRICS_TOKEN="t") == Caller()


def test_pages_change_nothing_without_a_key() -> None:
    """Wherever they come from; every route that is changed by PUT or DELETE counts, and those of dead letters."""
    changing = {route.path.replace(":.+}", "}") for route in all_routes() if route.method in {"PUT", "DELETE"}}
    assert changing | {"/dead-letters/requeue", "/v1/dead-letters/requeue"} == CHANGING_ROUTES
    for route in CHANGING_ROUTES:
        assert admit({"Host": "localhost"}, route)
        for page in PAGES:
            with pytest.raises(Forbidden, match="ADMIN_API_KEYS") as caught:
                admit({**page, "Host": "localhost"}, route)
            assert caught.value.code == "admin_key_required"
    assert admit({**PAGE, "Host": "localhost", "Authorization": "Bearer a"}, "/arms/{arm}", ADMIN_API_KEYS="a").admin


@pytest.mark.parametrize("sent", ["Bearer k", "bearer  k", "BEARER \t k", "Bearer     k"])
def test_any_number_of_blanks_stands_before_the_key(sent: str) -> None:
    """RFC 9110 allows them."""
    assert admit({"Authorization": sent}, API_KEYS="k").owner != "public"
    with pytest.raises(Unauthenticated):
        admit({"Authorization": "Bearer"}, API_KEYS="k")
