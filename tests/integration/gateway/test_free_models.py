"""`/health`, `/v1/models` and answers of a gateway whose settings are the defaults, on an upstream of today."""

from __future__ import annotations

from pathlib import Path

from shared.bandit.arms import Arm, Price
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, ask, serving

LISTED = (
    Arm("a/one:free", Price(0.0, 0.0), created=2.0),
    Arm("b/two:free", Price(0.0, 0.0), created=1.0),
    Arm("anthropic/claude-sonnet-4.5", Price(3e-6, 1.5e-5)),
)


async def test_health_names_what_free_and_the_default_stand_for(tmp_path: Path) -> None:
    """The chosen models, the default's stand-in with its price, and every name that the upstream does not list."""
    world = World(settings_for(tmp_path, LLM_MODELS="free,x/gone", DEFAULT_MODEL="claude-3.5-sonnet"))
    world.upstream.arms = LISTED
    async with serving(world) as client:
        _, report, _ = await ask(client, "/health")
        assert report["arm_list"]["arms"] == report["arm_list"]["free"] == ["a/one:free", "b/two:free"]
        assert report["unlisted"] == ["x/gone", "claude-3.5-sonnet"]
        assert report["default_model"] == {
            "configured": "claude-3.5-sonnet",
            "used": "anthropic/claude-sonnet-4.5",
            "replaced": True,
            "usd_per_million_prompt_tokens": 3.0,
            "usd_per_million_completion_tokens": 15.0,
        }
        _, models, _ = await ask(client, "/v1/models")
        ids = [model["id"] for model in models["data"] if model["owned_by"] != "llm-router"]
        assert ids == [arm.id for arm in LISTED]
        async with client.post("/v1/chat/completions", json={**BODY, "model": "claude-3.5-sonnet"}) as answer:
            assert (answer.status, answer.headers["x-router-model"]) == (200, "anthropic/claude-sonnet-4.5")


async def test_health_is_as_it_was_where_all_names_are_listed(tmp_path: Path) -> None:
    """Nothing is replaced, and nothing stands for `free`."""
    world = World(settings_for(tmp_path))
    async with serving(world) as client:
        _, report, _ = await ask(client, "/health")
        assert report["unlisted"] == []
        assert report["arm_list"]["free"] is None
        assert (report["default_model"]["used"], report["default_model"]["replaced"]) == ("d/spare", False)
