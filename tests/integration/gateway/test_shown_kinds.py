"""`GET /arms?kinds=1`, and the kind of prompt in dry runs and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from services.gateway.http.openapi import ROUTER_HEADERS
from services.gateway.http.openapi_schemas import DECISION, KIND
from shared.bandit.assigner import Assigner
from shared.bandit.kinds import no_kinds
from shared.bandit.sums import MICRO
from shared.bandit.traits import EXTRA_DIMENSION, assign
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.chat import parse_chat
from tests.integration.gateway.test_access import bearer
from tests.integration.gateway.test_health_schema import closed
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving
from tests.support.values import replace

ADMIN, USER = "admin-key-of-many-letters", "user-key-of-many-letters"
PROMPTS = ("sort a list in python", "a poem about autumn leaves", "translate good morning to german")
NEW = "how long do eggs boil"
SIZES = (30, 60, 10)
SPECIALISTS = ("a/small", "b/middle", "c/large")


class FakePrompts:
    """Prompts of requests, each with its owner."""

    def __init__(self, owner: str) -> None:
        self.owner, self.away = owner, False

    async def texts(self, own_ids: Sequence[str], *, owner: str | None) -> Mapping[str, str]:
        if self.away:
            raise DependencyError("postgres", "away")
        return {own_id: f"text of {own_id}" for own_id in own_ids if owner in (None, self.owner)}


class TaughtWorld(World):
    """Three kinds of different sizes; each arm has 20 ratings of each, .9 where it is the specialist, .4 elsewhere."""

    prompts: FakePrompts | None = None

    @property
    def adapters(self) -> Any:
        return replace(super().adapters, prompts=self.prompts)

    async def teach(self) -> None:
        assigner = Assigner(no_kinds(256 + EXTRA_DIMENSION, model="fake-256"))
        vectors = await self.embedder.embed(PROMPTS)
        for topic, size in enumerate(SIZES):
            traits = parse_chat(orjson.dumps(body_of(PROMPTS[topic]))).traits
            for at in range(size):
                assign(assigner, vectors[topic], traits, f"request-{topic}-{at:02}")
        self.memory.kinds = assigner.kinds
        for arm in SPECIALISTS:
            sums: Counter[str] = Counter()
            for kind, specialist in enumerate(SPECIALISTS):
                score = 0.9 if specialist == arm else 0.4
                fields = {"requests": SIZES[kind], "labels": 20, "score_micro": round(20 * score * MICRO)}
                fields["score_sq_micro"] = round(20 * score**2 * MICRO)
                sums.update(fields)
                sums.update({f"{name}@1.{kind}": value for name, value in fields.items()})
            self.memory.sums[arm, utc_day(self.clock.now())] = sums
            self.memory.versions[arm, utc_day(self.clock.now())] = 1


async def taught(folder: Path, **settings: str) -> TaughtWorld:
    world = TaughtWorld(settings_for(folder / "spool", **settings))
    await world.teach()
    return world


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(await taught(tmp_path)) as client:
        yield client


def body_of(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


async def dry_run(client: aiohttp.ClientSession, prompt: str) -> dict[str, Any]:
    _, shown, _ = await ask(client, "/route", body_of(prompt))
    return dict(shown["decision"])


@pytest.mark.parametrize("path", ["/arms", "/v1/arms"])
async def test_kinds_are_shown_on_request(client: aiohttp.ClientSession, path: str) -> None:
    """The largest first, each with its size, examples, best model and evidence; otherwise `/arms` is as before."""
    _, plain, _ = await ask(client, path)
    _, shown, _ = await ask(client, f"{path}?kinds=1")
    assert "kinds" not in plain
    assert {**plain, "snapshot_age_s": 0} == {
        name: value for name, value in {**shown, "snapshot_age_s": 0}.items()
        if name not in {"kinds", "kinds_total", "prompts"}
    }  # fmt: skip
    assert (shown["kinds_total"], shown["prompts"]) == (3, "not_stored")
    assert faults(shown["kinds"], closed({"type": "array", "items": KIND})) == []
    first = shown["kinds"][0]
    assert [(kind["id"], kind["size"]) for kind in shown["kinds"]] == [("1.1", 60), ("1.0", 30), ("1.2", 10)]
    assert [kind["best"]["arm"] for kind in shown["kinds"]] == ["b/middle", "a/small", "c/large"]
    assert all(0.9 < kind["best"]["probability"] <= 1 for kind in shown["kinds"])
    assert (first["labels"], first["requests"], first["share"]) == (60, 180, pytest.approx(0.6))
    # The request that opened the kind has given way to later ones.
    assert [example["request_id"] for example in first["examples"]] == ["request-1-01", "request-1-02", "request-1-03"]
    assert all(example["prompt"] is None for example in first["examples"])
    arm = first["arms"][1]
    assert set(arm) == {
        "arm", "labels", "requests", "quality", "quality_low", "quality_high", "cost_usd", "utility",
    }  # fmt: skip
    assert (arm["arm"], arm["labels"], arm["requests"]) == ("b/middle", 20, 60)
    assert arm["quality_low"] < arm["quality"] < arm["quality_high"]


async def test_kinds_agree_with_decisions_and_with_all_traffic(client: aiohttp.ClientSession) -> None:
    """A dry run of a prompt of a kind believes the same; the overall figures are the kinds' weighted by traffic."""
    _, shown, _ = await ask(client, "/arms?kinds=1")
    kinds = {kind["id"]: kind for kind in shown["kinds"]}
    for topic, prompt in enumerate(PROMPTS):
        decision = await dry_run(client, prompt)
        assert faults(decision, DECISION) == []
        kind = kinds[f"1.{topic}"]
        assert decision["prompt_kind"] == {
            "id": kind["id"],
            "size": kind["size"],
            "requests_nearby": decision["prompt_kind"]["requests_nearby"],
            "labels_nearby": decision["prompt_kind"]["labels_nearby"],
            "new": False,
            "nearness": 1.0,
            "examples": [example["request_id"] for example in kind["examples"]],
        }
        assert decision["prompt_kind"]["labels_nearby"] == pytest.approx(60, rel=0.2)
        views = {view["arm"]: view for view in decision["arms"]}
        for arm in kind["arms"]:
            view = views[arm["arm"]]
            assert (arm["quality"], arm["cost_usd"], arm["utility"]) == pytest.approx(
                (view["base_quality"], view["cost_usd"], view["utility"])
            )
        assert kind["best"]["arm"] == max(views.values(), key=lambda view: view["utility"])["arm"]
        if decision["model"] == kind["best"]["arm"]:
            assert decision["confidence"] == pytest.approx(kind["best"]["probability"])
    for at, overall in enumerate(shown["data"]):
        assert overall["quality"] == pytest.approx(
            sum(kind["share"] * kind["arms"][at]["quality"] for kind in kinds.values())
        )
        assert overall["labels"] == sum(kind["arms"][at]["labels"] for kind in kinds.values())


async def test_a_new_kind_is_said_to_be_new(client: aiohttp.ClientSession) -> None:
    """In the dry run and in the stored record, with the nearest kind; headers stay as they were."""
    decision = await dry_run(client, NEW)
    assert decision["prompt_kind"]["new"] is True
    assert 0 < decision["prompt_kind"]["nearness"] < 1
    assert "This is a new kind of prompt" in decision["reason"]
    assert decision["confidence"] < 0.6
    _, _, headers = await ask(client, "/chat/completions", body_of(NEW), **{"X-Request-ID": "new-one"})
    assert {name for name in headers if name.startswith("x-router-")} <= set(ROUTER_HEADERS)
    assert headers["x-router-decision"] in {"global", "default"}
    _, record, _ = await ask(client, "/requests/new-one")
    stored = record["decision"]["prompt_kind"]
    assert stored == {**decision["prompt_kind"], "nearness": stored["nearness"]}
    assert "cluster" not in record["decision"]


async def test_without_a_vector_there_is_no_kind(tmp_path: Path) -> None:
    """The embedder is away: `prompt_kind` is null, and the reason says that the kind is not known."""
    world = await taught(tmp_path)
    async with serving(world) as client:
        world.embedder.error = DependencyError("embedder", "away")
        decision = await dry_run(client, PROMPTS[0])
    assert decision["prompt_kind"] is None
    assert faults(decision, DECISION) == []
    assert "The kind of prompt is not known" in decision["reason"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("kinds=2", "kinds"), ("kinds=", "kinds"), ("kinds=true", "kinds"), ("kinds=1&kinds=0", "kinds"),
        ("kinds=1&limit=0", "limit"), ("kinds=1&limit=65", "limit"), ("kinds=1&limit=-1", "limit"),
        ("kinds=1&limit=1.5", "limit"), ("kinds=1&limit=%C2%B2", "limit"), ("kinds=1&limit=", "limit"),
        ("kinds=1&limit=1&limit=2", "limit"), ("limit=x", "limit"), ("kinds=1&limit=00000000000000001", "limit"),
    ],
)  # fmt: skip
async def test_wrong_values_are_refused(client: aiohttp.ClientSession, query: str, param: str) -> None:
    """In OpenAI's shape, with the name of the parameter and the values that are allowed."""
    status, content, _ = await ask(client, f"/arms?{query}")
    error = content["error"]
    assert (status, error["type"], error["code"], error["param"]) == (
        400, "invalid_request_error", "invalid_value", param,
    )  # fmt: skip
    assert f"`{param}` must be" in error["message"]


async def test_limit_bounds_the_list(client: aiohttp.ClientSession) -> None:
    """The total stays; 0 for `kinds` shows none."""
    for limit, number in ((1, 1), (2, 2), (64, 3)):
        _, shown, _ = await ask(client, f"/arms?kinds=1&limit={limit}")
        assert (len(shown["kinds"]), shown["kinds_total"]) == (number, 3)
    assert "kinds" not in (await ask(client, "/arms?kinds=0"))[1]


async def test_stored_prompts_are_shown_to_those_who_may_see_the_requests(tmp_path: Path) -> None:
    """An admin sees all of them, a user's key its own; where they cannot be read now, that is said."""
    world = await taught(tmp_path, API_KEYS=USER)
    world.prompts = FakePrompts("another key")
    async with serving(world) as client:
        _, shown, _ = await ask(client, "/arms?kinds=1", **bearer(USER))
        assert shown["prompts"] == "stored"
        assert {example["prompt"] for kind in shown["kinds"] for example in kind["examples"]} == {None}
        assert all(kind["words"] == [] for kind in shown["kinds"])
    world = await taught(tmp_path, API_KEYS=USER, ADMIN_API_KEYS=ADMIN)
    world.prompts = FakePrompts("another key")
    async with serving(world) as client:
        assert (await ask(client, "/arms?kinds=1", **bearer(USER)))[0] == 403
        _, shown, _ = await ask(client, "/arms?kinds=1", **bearer(ADMIN))
        assert shown["kinds"][0]["examples"][0]["prompt"] == "text of request-1-01"
        assert shown["kinds"][0]["words"] == ["text", "request"]
        world.prompts.away = True
        status, shown, _ = await ask(client, "/arms?kinds=1", **bearer(ADMIN))
        assert (status, shown["prompts"]) == (200, "unavailable")
        assert shown["kinds"][0]["examples"][0]["prompt"] is None


async def test_without_kinds_the_list_is_empty(tmp_path: Path) -> None:
    """Nothing has been learned yet."""
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        _, shown, _ = await ask(client, "/arms?kinds=1")
        assert (shown["kinds"], shown["kinds_total"]) == ([], 0)
