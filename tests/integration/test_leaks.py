"""Marked secrets and texts go through every part, in good times and bad: none is in a log, a metric or an error.

One run at debug level: an upstream that quotes our key and the prompt in its errors, a Redis with a password that dies,
keys that are wrong, malformed or in the wrong place, ratings with words, and answers that are cut.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.servers import Server, free_port, redis_command
from services.embedder.encoder import STATIC
from tests.integration.bad_input.wire import Answer, exchange, request
from tests.support.embedder_rig import MODEL_CACHE, real_encoder

MARK = "7f3a9c"
UPSTREAM_KEY = f"sk-or-v1-{MARK}-upstream"
USER, ADMIN, SCRAPER = f"user-{MARK}-key", f"admin-{MARK}-key", f"scraper-{MARK}-token"
REDIS_PASSWORD = f"redis-{MARK}-password"
QDRANT_KEY = f"qdrant-{MARK}-key"
DATABASE = f"postgresql://someone:database-{MARK}@127.0.0.1:9/x"
LINK_SECRET = f"link-{MARK}-secret-0123456789"
PROMPT, ANSWER, WORDS = f"prompt {MARK} about a salary", f"answer {MARK} with an amount", f"words {MARK} of a user"
WRONG = f"sk-{MARK}-wrong-key"
SECRETS = (UPSTREAM_KEY, USER, ADMIN, SCRAPER, REDIS_PASSWORD, QDRANT_KEY, DATABASE, f"database-{MARK}", LINK_SECRET,
           WRONG, PROMPT, ANSWER, WORDS)  # fmt: skip

UPSTREAM = f"""
import asyncio, json, sys
from aiohttp import web

async def chat(request):
    body = await request.json()
    model, key = body["model"], request.headers["Authorization"]
    quoted = f"{{key}} may not ask {{body['messages'][-1]['content']}}"
    if model == "a/broken":
        return web.json_response({{"error": {{"message": quoted, "code": 500}}}}, status=500)
    if model == "a/strict":
        return web.json_response({{"error": {{"message": "no: " + key, "code": "bad"}}}}, status=400)
    if model == "a/garbage":
        return web.Response(text=quoted)
    choice = {{"index": 0, "finish_reason": "stop", "delta": {{"content": {ANSWER!r}}},
              "message": {{"role": "assistant", "content": {ANSWER!r}}}}}
    answer = {{"id": "x", "object": "chat.completion", "model": model, "choices": [choice],
              "usage": {{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}}}
    if not body.get("stream"):
        return web.json_response(answer)
    response = web.StreamResponse(headers={{"Content-Type": "text/event-stream"}})
    await response.prepare(request)
    await response.write(b"data: " + json.dumps(answer).encode() + b"\\n\\n")
    if model == "a/cut":
        request.transport.abort()
        return response
    await response.write(b"data: [DONE]\\n\\n")
    return response

async def models(request):
    names = ("a/good", "a/broken", "a/strict", "a/garbage", "a/cut")
    return web.json_response({{"data": [{{"id": name}} for name in names]}})

app = web.Application()
app.add_routes([web.post("/chat/completions", chat), web.get("/models", models)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@dataclass
class World:
    """The parts, and everything that clients were told of themselves."""

    port: int
    redis: Server
    logs: list[Path]
    metrics: list[int]
    answers: list[Answer]

    def send(self, raw: bytes) -> Answer | None:
        answer = exchange(self.port, raw)
        if answer is not None:
            self.answers.append(answer)
        return answer

    def chat(self, fields: dict[str, object], key: str = USER) -> Answer | None:
        name = f"asked-{uuid.uuid4()}"
        body = {"messages": [{"role": "user", "content": PROMPT}], **fields}
        return self.send(request(body=body, key=key, x_request_id=name))


@pytest.fixture
def world(tmp_path: Path, qdrant_url: str) -> Iterator[World]:
    real_encoder(STATIC)  # distilled now if never before
    upstream, redis, gateway, embedder, learner = (free_port() for _ in range(5))
    settings = {
        "HOST": "127.0.0.1", "PORT": str(gateway), "API_KEYS": USER, "ADMIN_API_KEYS": ADMIN, "METRICS_TOKEN": SCRAPER,
        "OPENROUTER_API_KEY": UPSTREAM_KEY, "OPENROUTER_BASE_URL": f"http://127.0.0.1:{upstream}",
        "LLM_MODELS": "a/good,a/broken", "DEFAULT_MODEL": "a/good", "RATE_LIMIT_RPM": "1000",
        "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{redis}/0", "QDRANT_URL": qdrant_url,
        "QDRANT_API_KEY": QDRANT_KEY, "DATABASE_URL": DATABASE, "FEEDBACK_LINK_SECRET": LINK_SECRET,
        "EMBEDDER_URL": f"http://127.0.0.1:{embedder}", "EMBEDDER_HOST": "127.0.0.1", "EMBEDDER_PORT": str(embedder),
        "LEARNER_HOST": "127.0.0.1", "LEARNER_PORT": str(learner), "MODEL_CACHE_DIR": str(MODEL_CACHE),
        "SPOOL_DIR": str(tmp_path / "spool"), "LOG_FORMAT": "json", "LOG_LEVEL": "debug",
    }  # fmt: skip
    script = tmp_path / "upstream.py"
    script.write_text(UPSTREAM)
    store = Server(
        "redis", [*redis_command(redis, tmp_path / "redis"), "--requirepass", REDIS_PASSWORD], tmp_path / "redis.log"
    )
    parts = [
        (store, redis),
        (Server("upstream", [sys.executable, str(script), str(upstream)], tmp_path / "up.log"), upstream),
    ]
    for name, port in (("embedder", embedder), ("learner", learner), ("gateway", gateway)):
        command = [sys.executable, "-m", f"services.{name}"]
        parts.append((Server(name, command, tmp_path / f"{name}.log", settings), port))
    with ExitStack() as stack:
        for server, _ in parts:  # all at once: none waits for another
            server.start()
            stack.callback(server.kill)
        for server, port in parts:
            server.wait_for_port(port)
        ours = [server.log for server, _ in parts if server.name != "upstream"]
        yield World(gateway, store, ours, [gateway, embedder, learner], [])


def use(world: World) -> None:
    """Ask in every way that we know of."""
    wishes: tuple[dict[str, object], ...] = (
        {}, {"stream": True}, {"model": "a/broken"}, {"model": "a/strict"}, {"model": "a/garbage"},
        {"model": "a/cut", "stream": True}, {"user": PROMPT}, {"model": PROMPT}, {"temperature": PROMPT},
        {"api_key": WRONG}, {"metadata": {"base_url": WRONG}},
    )  # fmt: skip
    for fields in wishes:
        world.chat(fields)
    world.chat({}, key=WRONG)
    answered = request(body={"messages": [{"role": "user", "content": PROMPT}]}, key=USER, x_request_id="rated")
    world.send(answered)
    world.send(answered)
    for score in (0.5, 0.25, 7):
        rating: dict[str, object] = {"request_id": "rated", "score": score, "feedback_text": WORDS}
        world.send(request("/feedback", rating, key=USER))
    for raw in (
        request(f"/requests/{WRONG}?key={USER}", method="GET", key=None),
        request(f"/v1/chat/completions?api_key={USER}", key=None),
        request("/nowhere/" + WRONG, method="GET", key=USER),
        request(body=b'{"messages": "' + PROMPT.encode() + b'"', key=USER),
        request(key=USER).replace(b"host:", b"authorization: Bearer " + WRONG.encode() + b"\0\r\nhost:", 1),
        request(body=PROMPT.encode(), key=USER, content_encoding="gzip"),
        request("/arms", method="GET", key=USER),
    ):
        world.send(raw)


def spellings(secret: str) -> list[str]:
    """Return a secret as it is, and as encodings would carry it."""
    return [secret, json.dumps(secret)[1:-1], base64.b64encode(secret.encode()).decode().rstrip("=")[:-2]]


def test_nothing_marked_is_in_a_log_a_metric_or_an_error(world: World) -> None:
    """Rows 70 to 72 and the promise of the README: no prompt, answer, word of feedback or key, at any level."""
    use(world)
    world.redis.kill()
    use(world)
    world.redis.start()
    world.redis.wait_for_port(int(world.redis.command[2]))
    use(world)
    statuses = {answer.status for answer in world.answers}
    assert {200, 202, 400, 401, 403, 404, 409, 502, 503} <= statuses, statuses

    texts = {path.name: path.read_text(errors="replace") for path in world.logs}
    for port in world.metrics:
        answer = exchange(port, request("/metrics", method="GET", key=SCRAPER))
        assert answer is not None
        assert answer.status == 200
        texts[f"metrics of {port}"] = answer.body.decode()
    for number, answer in enumerate(world.answers):
        if answer.status >= 400:
            texts[f"answer {number}"] = answer.body.decode() + str(answer.headers)
    assert sum(len(text) for name, text in texts.items() if name == "gateway.log") > 10_000
    found = [(name, secret) for name, text in texts.items() for secret in SECRETS
             if any(spelling in text for spelling in spellings(secret))]  # fmt: skip
    # A client that names a model gets its provider's reason, which here repeats the client's own prompt.
    found = [
        (name, secret)
        for name, secret in found
        if secret != PROMPT or not name.startswith("answer ") or "The upstream said: " not in texts[name]
    ]
    assert found == []
