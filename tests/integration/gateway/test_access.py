"""Access rights: of users, admins, Prometheus and callers without a key."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, ask, serving

USER, OTHER, ADMIN, SCRAPER, STRANGER = "user-key-1", "user-key-2", "admin-key", "scrape-token", "no-such-key"
CHAT = "/v1/chat/completions"
USERS = f"{USER},{OTHER}"


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


async def test_an_admin_sees_and_rates_requests_of_others_and_users_do_not(tmp_path: Path) -> None:
    """By the client's id and by ours; for another user it does not exist (rows 46, 47, 54)."""
    world = World(settings_for(tmp_path, API_KEYS=USERS, ADMIN_API_KEYS=ADMIN))
    async with serving(world) as client:
        status, _, _ = await ask(client, "/v1/chat/completions", BODY, X_Request_ID="mine", **bearer(USER))
        assert status == 200
        own_id = world.records[0].id
        for name in ("mine", own_id):
            for path in (f"/requests/{name}", f"/metrics/{name}"):
                for key, expected in ((USER, 200), (OTHER, 404), (ADMIN, 200), (STRANGER, 401), (None, 401)):
                    assert (await ask(client, path, **bearer(key)))[0] == expected, (path, key)
        for key, expected in ((OTHER, 404), (ADMIN, 202), (STRANGER, 401)):
            rating = {"request_id": "mine", "score": 0.5}
            assert (await ask(client, "/feedback", rating, **bearer(key)))[0] == expected
        assert (await ask(client, "/v1/chat/completions", BODY, **bearer(ADMIN)))[0] == 200


async def test_an_id_of_several_keys_is_ambiguous_to_an_admin(tmp_path: Path) -> None:
    """Each user has its own ids; the admin gets our ids, and rates by them; another owner's id names none of mine."""
    world = World(settings_for(tmp_path, API_KEYS=USERS, ADMIN_API_KEYS=ADMIN))
    async with serving(world) as client:
        for key in (USER, OTHER):
            assert (await ask(client, CHAT, BODY, X_Request_ID="same", **bearer(key)))[0] == 200
        own = {record.id for record in world.records}
        rating = {"request_id": "same", "score": 0.5}
        for path, body in (("/requests/same", None), ("/metrics/same", None), ("/feedback", rating)):
            assert (await ask(client, path, body, **bearer(USER)))[0] in (200, 202)
            status, content, _ = await ask(client, path, body, **bearer(ADMIN))
            assert (status, content["error"]["code"]) == (409, "ambiguous_request_id")
            assert set(re.findall(r"[0-9a-f-]{36}", content["error"]["message"])) == own
        first = world.records[0].id
        assert (await ask(client, "/feedback", {**rating, "request_id": first}, **bearer(ADMIN)))[0] == 202
        status, content, _ = await ask(client, CHAT, BODY, X_Request_ID=first, **bearer(OTHER))
        assert (status, content["error"]["code"]) == (409, "duplicate_request_id")


@pytest.mark.parametrize(
    ("settings", "metrics", "arms"),
    [
        # who: no key, a user's, an admin's, Prometheus'
        ({}, (200, 200, 200, 200), (200, 200, 200, 200)),
        ({"API_KEYS": USERS}, (401, 200, 401, 401), (401, 200, 401, 401)),
        ({"API_KEYS": USERS, "ADMIN_API_KEYS": ADMIN}, (401, 403, 200, 401), (401, 403, 200, 401)),
        ({"API_KEYS": USERS, "METRICS_TOKEN": SCRAPER}, (401, 403, 401, 200), (401, 200, 401, 401)),
        ({"ADMIN_API_KEYS": ADMIN, "METRICS_TOKEN": SCRAPER}, (401, 401, 200, 200), (401, 401, 200, 401)),
        ({"METRICS_TOKEN": SCRAPER}, (401, 401, 401, 200), (200, 200, 200, 200)),
    ],
    ids=["open", "keys", "keys-admin", "keys-token", "admin-token", "token"],
)
async def test_operator_routes_are_guarded_by_settings(
    tmp_path: Path, settings: dict[str, str], metrics: tuple[int, ...], arms: tuple[int, ...]
) -> None:
    """`/metrics` and `/arms` follow the table of the API page; a user's key gets 403, an unknown one 401 (row 48)."""
    async with serving(World(settings_for(tmp_path, **settings))) as client:
        for path, expected in (("/metrics", metrics), ("/arms", arms), ("/v1/arms", arms)):
            answers = [await ask(client, path, **bearer(key)) for key in (None, USER, ADMIN, SCRAPER)]
            assert tuple(status for status, _, _ in answers) == expected, path
            codes = {content["error"]["code"] for status, content, _ in answers if status == 403}
            assert codes <= {"admin_key_required"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # who: no key, a user's, an admin's, Prometheus'
        ({}, (200, 200, 200, 200)),
        ({"METRICS_TOKEN": SCRAPER}, (200, 200, 200, 200)),
        ({"API_KEYS": USERS}, (401, 403, 401, 401)),
        ({"API_KEYS": USERS, "ADMIN_API_KEYS": ADMIN}, (401, 403, 200, 401)),
        ({"ADMIN_API_KEYS": ADMIN, "METRICS_TOKEN": SCRAPER}, (401, 401, 200, 401)),
    ],
    ids=["open", "token", "keys", "keys-admin", "admin-token"],
)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/arms/d/spare"), ("DELETE", "/v1/arms/a/small")])
async def test_only_admins_change_the_list_of_models(
    tmp_path: Path, method: str, path: str, settings: dict[str, str], expected: tuple[int, ...]
) -> None:
    """Stricter than reading: as soon as there is any key, only an admin's will do; others change nothing."""
    world = World(settings_for(tmp_path, **settings))
    async with serving(world) as client:
        for key, status in zip((None, USER, ADMIN, SCRAPER), expected, strict=True):
            world.memory.arms.clear()
            async with client.request(method, path, headers=bearer(key)) as answer:
                assert answer.status == status, key
            assert bool(world.memory.arms) is (status == 200)


async def test_no_web_page_changes_the_list_of_models(tmp_path: Path) -> None:
    """Even where there are no keys, and pages of everywhere may ask: browsers are told of GET and POST alone."""
    async with serving(World(settings_for(tmp_path, CORS_ORIGINS="*"))) as client:
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
        async with client.options("/arms/d/spare", headers=asked) as preflight:
            allowed = preflight.headers["Access-Control-Allow-Methods"].split(", ")
    assert not {"PUT", "DELETE"} & set(allowed)


@pytest.mark.parametrize("fields", [{}, {"Connection": "close"}], ids=["fast path", "aiohttp"])
async def test_a_rebound_page_gets_nothing(tmp_path: Path, fields: dict[str, str]) -> None:
    """Without keys, by both ways: no answer, no models, no records; the state alone, and signed links."""
    foreign = {"Origin": "http://evil.example:1", "Host": "evil.example:1", **fields}
    world = World(settings_for(tmp_path, FEEDBACK_LINK_SECRET="0123456789abcdef"))
    async with serving(world) as client:
        json = {"Content-Type": "application/json"}
        for path, body in ((CHAT, orjson.dumps(BODY)), ("/feedback", b"{}"), ("/arms", None), ("/metrics", None)):
            call = client.post(path, data=body, headers=foreign | json) if body else client.get(path, headers=foreign)
            async with call as answer:
                assert answer.status == 403, path
                assert (await answer.json())["error"]["code"] == "host_not_allowed"
        assert world.records == []
        async with client.get("/health", headers=foreign) as answer:
            assert set(await answer.json()) == {"status"}
        async with client.get("/feedback/no-link-of-ours", headers=foreign) as answer:
            assert (await answer.json())["error"]["code"] == "invalid_link"
        async with client.post(CHAT, json=BODY, headers=fields | {"Origin": "http://evil.example"}) as answer:
            assert answer.status == 200, "under an address, CORS_ORIGINS decides"


@pytest.mark.parametrize("kind", [None, "", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/feedback", "/route"])
async def test_what_a_page_sends_without_a_preflight_is_refused(tmp_path: Path, kind: str | None, path: str) -> None:
    """A body of a type that browsers send anywhere, or of none; a program may leave the type out."""
    typed = {} if kind is None else {"Content-Type": kind}
    async with serving(World(settings_for(tmp_path))) as client:
        skipped = ("Content-Type",)
        call = client.post(path, data=b"{}", headers={"Origin": "http://a.example"} | typed, skip_auto_headers=skipped)
        async with call as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media_type")
        async with client.post(path, data=orjson.dumps(BODY), skip_auto_headers=skipped) as answer:
            assert answer.status != 415


async def test_no_web_page_changes_models_without_a_key(tmp_path: Path) -> None:
    """Also under localhost; a program may."""
    world = World(settings_for(tmp_path))
    async with serving(world) as client:
        for method in ("PUT", "DELETE"):
            async with client.request(method, "/arms/a/small", headers={"Origin": "http://localhost:3000"}) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (403, "admin_key_required")
        assert world.memory.arms == {}
        async with client.put("/arms/d/spare") as answer:
            assert answer.status == 200


async def test_health_tells_strangers_the_state_alone(tmp_path: Path) -> None:
    """Versions, addresses of parts and resting models are for those with a key, where there are keys (row 74)."""
    async with serving(World(settings_for(tmp_path, API_KEYS=USERS, ADMIN_API_KEYS=ADMIN))) as client:
        for key in (None, STRANGER, USER):
            status, report, _ = await ask(client, "/health", **bearer(key))
            assert (status, set(report)) == (200, {"status"})
        assert "parts" in (await ask(client, "/health", **bearer(ADMIN)))[1]
    async with serving(World(settings_for(tmp_path))) as client:
        assert "parts" in (await ask(client, "/health"))[1]


async def test_with_admin_keys_only_chat_needs_no_key(tmp_path: Path) -> None:
    """Only what is for admins is closed: an SDK that sends some key because it must is served as the public."""
    async with serving(World(settings_for(tmp_path, ADMIN_API_KEYS=ADMIN))) as client:
        for key in (None, STRANGER):
            assert (await ask(client, "/v1/chat/completions", BODY, **bearer(key)))[0] == 200
        assert (await ask(client, "/v1/chat/completions", BODY, X_Request_ID="a", **bearer(ADMIN)))[0] == 200
        assert (await ask(client, "/requests/a"))[0] == 404
