"""The places that the seed names for troubleshooting show what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DependencyError, Scope, UpstreamError
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, ask, serving


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path / "spool"))


async def test_a_refused_key_is_named_where_one_looks(world: World) -> None:
    """Models not available: `/health` says that the key or its credit is refused, and stays an answer itself."""
    for arm in ("a/small", "b/middle", "c/large", "d/spare"):
        world.upstream.tell(arm, *[Reply(error=UpstreamError("no", status=401, scope=Scope.KEY))] * 9)
    async with serving(world) as client:
        for _ in range(2):
            assert (await ask(client, "/v1/chat/completions", BODY))[0] == 502
        calls = len(world.upstream.calls)
        status, told, headers = await ask(client, "/v1/chat/completions", BODY)
        assert (status, told["error"]["code"]) == (502, "upstream_error")
        assert "OPENROUTER_API_KEY" in told["error"]["message"]
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert len(world.upstream.calls) == calls, "no model is called before then"
        status, report, _ = await ask(client, "/health")
    assert status == 200
    assert report["parts"]["upstream"]["status"] == "degraded"
    assert "key" in report["parts"]["upstream"]["detail"]


async def test_model_names_can_be_compared_with_the_list(world: World) -> None:
    """Models not available: a name that the upstream does not list is missing in `/v1/models`, and 404 as a pin."""
    async with serving(world) as client:
        listed = {model["id"] for model in (await ask(client, "/v1/models"))[1]["data"]}
        assert {"auto", "a/small", "b/middle", "c/large"} <= listed
        status, problem, _ = await ask(client, "/v1/chat/completions", {**BODY, "model": "no-such/model"})
    assert (status, problem["error"]["code"]) == (404, "model_not_found")


async def test_ready_tells_whether_the_embedder_is(world: World) -> None:
    """The check of the embedding service: ready serves all the same, and names what decisions go without."""
    async with serving(world) as client:
        assert (await ask(client, "/ready"))[1] == {"status": "ready", "degraded": []}
    world.embedder.error = DependencyError("embedder", "gone")
    async with serving(world) as client:
        status, state, _ = await ask(client, "/ready")
    assert status == 200
    assert "embedder" in state["degraded"]


async def test_metrics_of_a_request_tell_our_share_of_its_time(world: World) -> None:
    """Slow routing decisions: overhead and upstream are apart, in the header and in the record."""
    async with serving(world) as client:
        _, _, headers = await ask(client, "/v1/chat/completions", BODY)
        numbers = (await ask(client, f"/metrics/{headers['x-request-id']}"))[1]
    assert float(headers["x-router-overhead-ms"]) >= 0
    assert {"overhead", "upstream"} <= set(numbers["latency_ms"])


async def test_ready_says_that_no_model_is_known(tmp_path: Path) -> None:
    """Models not available: where each request would get 503, so does the load balancer, with the reason."""
    world = World(settings_for(tmp_path, LLM_MODELS="free", DEFAULT_MODEL="free"))
    world.upstream.default = Reply(error=UpstreamError("no list"))
    async with serving(world) as client:
        assert (await ask(client, "/v1/chat/completions", BODY))[1]["error"]["code"] == "no_models"
        status, state, _ = await ask(client, "/ready")
        assert (status, "no model is known" in state["reason"]) == (503, True)
