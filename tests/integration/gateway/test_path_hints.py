"""Unknown paths and methods: the response names the right one, the log the requested one."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.http.path_hints import shown_path
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, serving

CHAT = "Did you mean POST /v1/chat/completions?"
MESSAGES = "Did you mean POST /v1/messages?"
HINTS = [
    ("POST", "/v1/v1/responses", "Did you mean POST /v1/responses?"),
    ("GET", "/v1/responses/resp_1", "The API of stored responses is not offered. Did you mean POST /v1/responses?"),
    ("POST", "/v1/v1/messages", MESSAGES),
    ("POST", "/v1/messages/batches", "The API of message batches is not offered. " + MESSAGES),
    ("POST", "/v1/completions", CHAT),
    ("POST", "/completions", CHAT),
    ("POST", "/v1//chat/completions", CHAT),
    ("POST", "/v1/v1/chat/completions", CHAT),
    ("POST", "/api/v1/chat/completions", CHAT),
    ("POST", "/openai/v1/chat/completions", CHAT),
    ("POST", "/v1/chat/completions/", CHAT),
    ("POST", "/v1/chat/completion", CHAT),
    ("POST", "/v1/chat", CHAT),
    ("POST", "/api/chat", CHAT),
    ("POST", "/V1/chat/completions", CHAT),
    ("GET", "/v1/v1/models", "Did you mean GET /v1/models?"),
    ("GET", "/api/v1/models", "Did you mean GET /v1/models?"),
    ("GET", "/v1/v1/requests/abc", "Did you mean GET /v1/requests/{request_id}?"),
    ("POST", "/v1/v1/feedback", "Did you mean POST /v1/feedback?"),
    ("GET", "/v1/health", "Did you mean GET /health?"),
    ("GET", "/nowhere", "GET /docs lists"),
    ("GET", "/", "GET /docs lists"),
]
WRONG_METHODS = [
    ("GET", "/v1/chat/completions", "use POST"),
    ("GET", "/chat/completions", "use POST"),
    ("POST", "/v1/models", "use GET"),
    ("POST", "/health", "use GET"),
    ("DELETE", "/feedback", "use POST"),
    ("PATCH", "/arms/a/x", "use DELETE or PUT"),
]


@pytest.mark.parametrize(("method", "path", "words"), HINTS)
async def test_the_path_that_exists_is_named(tmp_path: Path, method: str, path: str, words: str) -> None:
    """404 in OpenAI's shape; for paths of the API with the base URL to set, which is the client's own view of us."""
    async with serving(World(settings_for(tmp_path))) as client, client.request(method, path, json=BODY) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (404, "not_found")
        assert words in error["message"]
        if "/v1/" in words:
            own = "" if MESSAGES in words else "/v1"
            assert f"set the base URL to http://{answer.url.host}:{answer.url.port}{own}." in error["message"]


@pytest.mark.parametrize(("method", "path", "words"), WRONG_METHODS)
async def test_the_method_that_works_is_named(tmp_path: Path, method: str, path: str, words: str) -> None:
    """405 with the header `Allow` and in words."""
    async with serving(World(settings_for(tmp_path))) as client, client.request(method, path) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (405, "method_not_allowed")
        assert words in error["message"]
        assert all(name in answer.headers["Allow"] for name in words.split()[1:] if name != "or")


@pytest.mark.parametrize("host", ["evil.example/<script>", "a b", "x" * 300, "router:99999999"])
async def test_a_strange_host_is_not_repeated(tmp_path: Path, host: str) -> None:
    """What the client sends as its Host is repeated only where it is a host."""
    async with serving(World(settings_for(tmp_path))) as client:
        async with client.post("/v1/v1/responses", headers={"Host": host}) as answer:
            text = await answer.text()
        assert host not in text
        assert "this server's address" in text


async def test_the_log_has_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bounded, without its query; a path that exists is in `route` as before."""
    async with serving(World(settings_for(tmp_path))) as client:
        for path in ("/v1/assistants?key=SECRET", "/v1/nowhere/" + "k" * 60, "/health"):
            await client.get(path)
    said = [line for line in capsys.readouterr().out.splitlines() if "duration_ms" in line]
    missed = [line for line in said if "path=" in line]
    assert len(missed) == 2, said
    assert "path=/v1/assistants " in missed[0]
    assert "path=/v1/nowhere/(long) " in missed[1]
    assert "SECRET" not in "".join(said)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/b", "/a/b"),
        ("/a\n\x1b[31mü b", "/a??[31m??b"),
        ("/" + "s" * 41, "/(long)"),
        ("/a" * 99, "/a" * 60 + "..."),
    ],
)
def test_a_shown_path_is_printable_and_short(path: str, shown: str) -> None:
    """Nothing that a terminal obeys, and no room for a key."""
    assert shown_path(path) == shown
