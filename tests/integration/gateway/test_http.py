"""The contract over HTTP: the real server and middlewares, on fakes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.http.openapi import OPERATIONS
from services.gateway.http.routes import all_routes
from shared.clock import utc_day
from shared.errors import DependencyError, UpstreamError
from shared.schemas.events import EventKind
from shared.schemas.ids import made_at
from shared.schemas.records import Status
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, ask, serving


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path / "spool"))


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    async with serving(world) as client:
        yield client


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_chat_feedback_and_record_tell_one_story(client: Client, prefix: str) -> None:
    """What the headers said, the record says; a rating is accepted, seen, and harmless when repeated."""
    status, answer, headers = await ask(client, f"{prefix}/chat/completions", BODY, X_Request_ID="mine-1")
    assert status == 200
    assert answer["model"] == headers["x-router-model"]
    assert headers["x-request-id"] == "mine-1"
    assert headers["x-router-decision"] == "global"
    assert 0 < float(headers["x-router-propensity"]) <= 1
    assert float(headers["x-router-cost-usd"]) == pytest.approx(0.000_21)
    assert float(headers["x-router-overhead-ms"]) > 0
    assert "x-router-degraded" not in headers

    for duplicate in (False, True):
        status, rated, _ = await ask(client, f"{prefix}/feedback", {"request_id": "mine-1", "score": 0.75})
        assert (status, rated) == (202, {"status": "accepted", "request_id": "mine-1", "duplicate": duplicate})

    _, story, _ = await ask(client, f"{prefix}/requests/mine-1")
    assert story["model"] == headers["x-router-model"]
    assert story["decision"]["propensity"] == pytest.approx(float(headers["x-router-propensity"]), rel=1e-5)
    assert {arm["arm"] for arm in story["decision"]["arms"]} == set(story["decision"]["eligible"])
    assert story["feedback"]["score"] == 0.75
    assert story["learned"] == {
        "outcome": False, "feedback": False, "feedback_revision": 0, "scores": {}, "evaluation": False
    }  # fmt: skip
    assert (story["scores"], story["evaluation"]) == ({}, None)

    _, numbers, _ = await ask(client, "/metrics/mine-1")
    assert numbers["score"] == 0.75
    assert numbers["tokens"] == {"prompt": 12, "completion": 7, "total": 19}
    terms = numbers["reward"]
    assert terms["total"] == pytest.approx(terms["quality"] + terms["latency"] + terms["cost"])

    status, refused, _ = await ask(client, f"{prefix}/chat/completions", BODY, X_Request_ID="mine-1")
    assert (status, refused["error"]["code"]) == (409, "duplicate_request_id")


async def test_only_the_unprefixed_path_insists_on_an_id(client: Client) -> None:
    """An unmodified SDK gets an id made for it, and can rate by it."""
    status, refused, _ = await ask(client, "/chat/completions", BODY)
    assert (status, refused["error"]["code"]) == (400, "missing_request_id")
    status, _, headers = await ask(client, "/v1/chat/completions", BODY)
    assert status == 200
    assert (await ask(client, "/feedback", {"request_id": headers["x-request-id"], "score": 1}))[0] == 202


async def test_a_stream_is_events_and_ends_with_done(client: Client, world: World) -> None:
    """SSE, headers before the first token, usage only on request."""
    for options, usages in (({}, 0), ({"stream_options": {"include_usage": True}}, 1)):
        _, text, headers = await ask(client, "/v1/chat/completions", {**BODY, "stream": True, **options})
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["x-router-model"] in world.settings.LLM_MODELS
        assert text.endswith("data: [DONE]\n\n")
        assert text.count('"usage"') == usages
    assert [record.outcome.completion_tokens for record in world.records] == [7, 7]


async def test_a_cut_stream_ends_in_an_error_and_no_done(client: Client, world: World) -> None:
    """No truncated answer looks complete."""
    world.upstream.default = Reply(error=UpstreamError("cut", spent=True), break_after=2)
    status, text, _ = await ask(client, "/v1/chat/completions", {**BODY, "stream": True})
    assert status == 200
    assert "[DONE]" not in text
    assert '"upstream_cut"' in text.strip().split("\n\n")[-1]


async def test_a_disconnect_stops_the_upstream_and_is_recorded(client: Client, world: World) -> None:
    """Waiting or streaming: a client that leaves stops the bill within a second."""
    for number, stream in enumerate((False, True), start=1):
        world.upstream.default = Reply(delay_s=0.0 if stream else 60.0, gap_s=0.3, text="a b c d e f g")
        call = asyncio.create_task(ask(client, "/v1/chat/completions", {**BODY, "stream": stream}))
        await asyncio.sleep(0.4)
        call.cancel()
        for _ in range(100):
            if len(world.records) == number:
                break
            await asyncio.sleep(0.02)
        assert world.upstream.cancelled == number
    assert [record.outcome.status for record in world.records] == [Status.CANCELLED] * 2


async def test_a_refusal_of_the_request_itself_is_relayed(client: Client, world: World) -> None:
    """An upstream 400 reaches the client as the upstream wrote it."""
    relay = b'{"error": {"message": "bad tool", "type": "invalid_request_error", "param": "tools", "code": "x"}}'
    error = UpstreamError("400", status=400, try_next=False, relay=relay)
    world.upstream.tell("a/small", Reply(error=error))
    status, told, _ = await ask(client, "/v1/chat/completions", {**BODY, "model": "a/small"})
    assert (status, told["error"]["param"]) == (400, "tools")


async def test_unknown_ids_and_models_are_404(client: Client) -> None:
    """Each with the code that says which."""
    for path in ("/requests/nope", "/metrics/nope", "/v1/requests/..%2Fx", "/requests/%00"):
        status, told, _ = await ask(client, path)
        assert (status, told["error"]["code"]) == (404, "request_not_found"), path
    status, told, _ = await ask(client, "/feedback", {"request_id": "nope", "score": 1})
    assert (status, told["error"]["code"]) == (404, "request_not_found")
    status, told, _ = await ask(client, "/v1/chat/completions", {**BODY, "model": "x/none"})
    assert (status, told["error"]["code"]) == (404, "model_not_found")
    status, told, _ = await ask(client, "/v1/models/x/none")
    assert (status, told["error"]["code"]) == (404, "model_not_found")


async def test_a_rating_may_come_before_the_answer_has_ended(client: Client, world: World) -> None:
    """The id is claimed when the request comes in: 202 from then on, and it counts once the record is there (53)."""
    world.upstream.default = Reply(delay_s=0.5)
    asking = asyncio.create_task(ask(client, "/chat/completions", BODY, X_Request_ID="fresh"))
    await asyncio.sleep(0.2)
    assert (await ask(client, "/requests/fresh"))[0] == 404
    assert (await ask(client, "/feedback", {"request_id": "fresh", "score": 0.9}))[0] == 202
    assert (await asking)[0] == 200
    assert (await ask(client, "/requests/fresh"))[1]["feedback"]["score"] == 0.9
    kinds = [event.kind for event in world.memory.events.values()]
    assert kinds == [EventKind.FEEDBACK, EventKind.OUTCOME, EventKind.FEEDBACK], "said again behind the record"


async def test_after_the_window_it_is_too_late_to_rate(client: Client, world: World) -> None:
    """410, with the field and the words for it; what was rated in time may not be changed either (61)."""
    await ask(client, "/chat/completions", BODY, X_Request_ID="old")
    assert (await ask(client, "/feedback", {"request_id": "old", "score": 0.9}))[0] == 202
    world.clock.advance(world.settings.FEEDBACK_WINDOW_HOURS * 3600 + 1)
    status, told, _ = await ask(client, "/feedback", {"request_id": "old", "score": 0.1})
    assert (status, told["error"]["code"], told["error"]["param"]) == (410, "feedback_window_over", "request_id")
    assert told["error"]["type"] == "invalid_request_error"


async def test_a_record_that_is_gone_is_not_unknown(client: Client, world: World) -> None:
    """410 with a code of its own, for the record and its figures."""
    await ask(client, "/chat/completions", BODY, X_Request_ID="old")
    (own_id,) = world.memory.stories
    assert await world.log.indexed({own_id: 0}) == []
    assert (await ask(client, "/requests/old"))[0] == 200
    world.clock.advance(made_at(own_id) - world.clock.now() + world.settings.STORY_HOURS * 3600)
    for path in ("/requests/old", "/metrics/old"):
        status, told, _ = await ask(client, path)
        assert (status, told["error"]["code"]) == (410, "record_expired")
    assert (await ask(client, "/requests/unknown"))[0] == 404


async def test_models_lists_auto_and_every_arm(client: Client) -> None:
    """In OpenAI's list shape, `auto` and its policies first."""
    _, listed, _ = await ask(client, "/v1/models")
    own = ["auto", "auto:best", "auto:cheap", "auto:fast"]
    assert [model["id"] for model in listed["data"]] == [*own, "a/small", "b/middle", "c/large", "d/spare"]
    assert (await ask(client, "/v1/models/a/small"))[1] == listed["data"][len(own)]


async def test_arms_show_belief_and_evidence(client: Client, world: World) -> None:
    """One row an arm, with an interval around the mean, and what share of its calls were answered."""
    world.memory.sums["a/small", utc_day(world.clock.now())] = Counter(requests=3, failures=1)
    world.memory.versions["a/small", utc_day(world.clock.now())] = 1
    for _ in range(100):
        _, shown, _ = await ask(client, "/arms")
        if shown["data"][0]["requests"]:
            break
        await asyncio.sleep(0.05)
    assert [arm["reliability"] for arm in shown["data"]] == [0.75, None, None]
    assert [arm["arm"] for arm in shown["data"]] == ["a/small", "b/middle", "c/large"]
    assert all(arm["quality_low"] <= arm["quality"] <= arm["quality_high"] for arm in shown["data"])


async def test_with_everything_away_it_still_answers_and_says_so(world: World) -> None:
    """Chat answers by the default model; health is degraded, ready is ready, feedback says when to come again."""
    world.memory.away = True
    world.embedder.error = DependencyError("embedder", "away")
    world.index.available = False
    async with serving(world) as client:
        status, _, headers = await ask(client, "/v1/chat/completions", BODY)
        assert (status, headers["x-router-decision"], headers["x-router-model"]) == (200, "default", "d/spare")
        assert headers["x-router-degraded"] == "embedder,redis"
        status, health, _ = await ask(client, "/health")
        assert (status, health["status"]) == (200, "degraded")
        states = {name: part["status"] for name, part in health["parts"].items()}
        assert states["embedder"] == states["qdrant"] == states["snapshot"] == "down"
        status, ready, _ = await ask(client, "/ready")
        assert (status, ready) == (200, {"status": "ready", "degraded": ["embedder", "qdrant", "redis"]})
        status, told, headers = await ask(client, "/feedback", {"request_id": "x", "score": 1})
        assert (status, told["error"]["code"], headers["Retry-After"]) == (503, "feedback_unavailable", "1")
        assert (await ask(client, "/requests/x"))[0] == 503
        world.memory.away = False
        for _ in range(300):
            if world.records:
                break
            await asyncio.sleep(0.02)
    assert [record.outcome.arm for record in world.records] == ["d/spare"], "sent = recorded"


async def test_health_is_ok_when_all_is_well(world: World) -> None:
    """Every part answers with its state; a living learner is seen by its heartbeat."""
    await world.heartbeats.beat("one", "1.2.3", 60.0)
    async with serving(world) as client:
        _, health, _ = await ask(client, "/health")
        assert health["status"] == "ok", health
        assert health["parts"]["learner"]["version"] == "1.2.3"
        assert (await ask(client, "/ready"))[1] == {"status": "ready", "degraded": []}


async def test_records_and_ratings_belong_to_the_key_that_asked(tmp_path: Path) -> None:
    """Another key sees the same 404 as for an id that never was, and cannot rate."""
    world = World(settings_for(tmp_path / "spool", API_KEYS="key-one,key-two"))
    async with serving(world) as client:
        one, two = "Bearer key-one", "Bearer key-two"
        assert (await ask(client, "/v1/chat/completions", BODY))[0] == 401
        status, _, _ = await ask(client, "/v1/chat/completions", BODY, Authorization=one, X_Request_ID="r")
        assert status == 200
        assert (await ask(client, "/requests/r", Authorization=one))[0] == 200
        other = await ask(client, "/requests/r", Authorization=two)
        unknown = await ask(client, "/requests/never", Authorization=two)
        assert other[:2] == unknown[:2]
        assert (await ask(client, "/feedback", {"request_id": "r", "score": 0}, Authorization=two))[0] == 404
        # An id is unique per key: the other one may use the same.
        assert (await ask(client, "/v1/chat/completions", BODY, Authorization=two, X_Request_ID="r"))[0] == 200


async def test_control_of_the_simulator_goes_only_where_nothing_costs_money(tmp_path: Path) -> None:
    """`x-simulate` is forwarded without a key, and dropped with one."""
    for key, forwarded in (("", {"x-simulate": "cut"}), ("sk-real", {})):
        world = World(settings_for(tmp_path / "spool", OPENROUTER_API_KEY=key))
        async with serving(world) as client:
            await ask(client, "/v1/chat/completions", BODY, x_simulate="cut")
        assert dict(world.upstream.calls[0].headers) == forwarded


async def test_the_contract_names_every_route_and_nothing_else(client: Client) -> None:
    """`/openapi.json` and the route table agree, and `/docs` needs nothing from elsewhere."""
    _, document, _ = await ask(client, "/openapi.json")
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    routed = {(r.method.lower(), re.sub(r":[^}]*}", "}", r.path)) for r in all_routes()}
    assert described == routed
    _, page, _ = await ask(client, "/docs")
    assert all(operation.path in page for operation in OPERATIONS)
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


async def test_metrics_are_prometheus_text_with_our_names(client: Client) -> None:
    """One scrape shows what a chat did."""
    await ask(client, "/v1/chat/completions", BODY)
    _, text, _ = await ask(client, "/metrics")
    assert re.search(r'^llm_router_outcomes_total\{status="answered"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r"^llm_router_snapshot_age_seconds ", text, re.MULTILINE)
