"""Several upstreams over real HTTP: where each call goes, and what clients see where one of them fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import raw_upstream as raw
from tests.support.served_gateway import ask
from tests.support.several_upstreams import FILE, Site, three_upstreams

ARMS = {"v/big": "router", "small": "hosted", "local/q": "local"}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with three_upstreams(tmp_path) as site:
        yield site


@both
async def test_each_call_goes_to_its_upstream_under_its_own_terms(site: Site, stream: bool) -> None:
    for arm in ARMS:
        status, headers, _ = await site.chat(model=arm, stream=stream)
        assert (status, headers["x-router-model"]) == (200, arm)
    router, hosted, local = (site.calls(name) for name in ARMS.values())
    assert [len(router), len(hosted), len(local)] == [1, 1, 1]
    assert [seen.json["model"] for seen in (router[0], hosted[0], local[0])] == ["v/big", "gpt-small", "q:8b"]
    assert router[0].headers["authorization"] == "Bearer key-of-router"
    assert hosted[0].headers["api-key"] == "key-of-hosted"
    assert hosted[0].headers["x-team"] == "blue"
    assert hosted[0].line.startswith("POST /api/v1/chat/completions?api-version=7 ")
    assert not {"authorization", "api-key", "x-team"} & {*local[0].headers}
    assert "authorization" not in hosted[0].headers
    assert ["stream_options" in seen.json for seen in (router[0], hosted[0], local[0])] == [stream, stream, False]


async def test_an_upstream_without_a_list_is_not_asked_for_one(site: Site) -> None:
    assert not any(seen.line.startswith("GET") for seen in site.upstreams["local"].seen)
    assert any(seen.line.startswith("GET") for seen in site.upstreams["hosted"].seen)


async def test_models_and_arms_show_upstream_price_and_limits(site: Site) -> None:
    _, listed, _ = await ask(site.client, "/v1/models")
    shown = {model["id"]: model for model in listed["data"] if not model["id"].startswith("auto")}
    assert {name: model["upstream"] for name, model in shown.items()} == ARMS
    assert shown["small"]["pricing"] == {"prompt": "0.000001", "completion": "0.000002"}
    assert shown["local/q"]["context_length"] == 1000
    assert shown["local/q"]["supported_parameters"] == ["tool_choice", "tools"]
    _, large, _ = await ask(site.client, "/v1/models/gpt-large@hosted")
    assert large["upstream"] == "hosted"
    _, arms, _ = await ask(site.client, "/arms")
    assert {arm["arm"]: arm["upstream"] for arm in arms["data"]} == ARMS


async def test_a_model_that_the_file_does_not_name_is_called_by_its_upstreams_name(site: Site) -> None:
    """Pinned, and as an arm that was added at run time."""
    assert (await site.chat(model="gpt-large@hosted"))[0] == 200
    assert site.calls("hosted")[-1].json["model"] == "gpt-large"
    async with site.client.put("/arms/gpt-large@hosted") as answer:
        assert "gpt-large@hosted" in (await answer.json())["arms"]
    assert (await site.chat(model="gpt-none@hosted"))[0] == 404
    assert (await site.chat(model="gpt-large"))[0] == 404, "the first upstream has no such model"


async def test_capabilities_of_the_file_decide_what_an_arm_is_asked(site: Site) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    status, _, body = await site.chat(
        models=["local/q"], messages=[{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    )
    assert (status, "no_capable_model" in body) == (400, True)


async def test_clients_notice_nothing_of_a_dead_upstream_under_load(site: Site) -> None:
    """Its arms fail a few times, then their circuits are open; each request is answered by another upstream.

    More retries at once than the retry budget has room for: it protects upstreams that have failed, not the others.
    """

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await raw.hang_up(reset=True)(reader, writer)

    site.scripts["hosted"] = die
    tries = [site.chat(stream=bool(number % 2)) for number in range(60)]
    answers = [answer for start in range(0, 60, 30) for answer in await asyncio.gather(*tries[start : start + 30])]
    assert Counter(status for status, _, _ in answers) == {200: 60}
    assert {headers["x-router-model"] for _, headers, _ in answers} == {"v/big", "local/q"}
    assert all('"error"' not in body for _, _, body in answers)
    assert 4 < len(site.calls("hosted")) < 30
    async with site.client.get("/metrics") as answer:
        text = await answer.text()
    assert 'llm_router_upstream_errors_total{arm="small",error="broken",upstream="hosted"}' in text
    assert 'llm_router_upstream_up{upstream="local"} 1.0' in text


async def test_an_upstream_that_refuses_our_key_is_left_alone_and_the_others_answer(tmp_path: Path) -> None:
    """Also in the request that shows that the key is refused, and not only one of its models."""
    async with three_upstreams(tmp_path, DEFAULT_MODEL="small", SAFE_START="true") as site:
        site.scripts["hosted"] = raw.whole({"error": {"message": "bad key"}}, "401 Unauthorized")
        assert (await site.chat(model="gpt-large@hosted"))[0] == 502
        for _ in range(10):
            status, headers, _ = await site.chat()
            assert (status, headers["x-router-decision"]) == (200, "fallback")
        assert (await site.chat(model="small"))[0] == 502
        assert len(site.calls("hosted")) == 2, "not even a client that names the model reaches it"
        report = await site.health()
    assert {name: part["status"] for name, part in report["upstreams"].items()} == {
        "router": "ok", "hosted": "degraded", "local": "ok",
    }  # fmt: skip
    assert report["parts"]["upstream"]["status"] == "degraded"
    assert "our key is refused" in report["upstreams"]["hosted"]["detail"]


@both
@pytest.mark.parametrize(
    "fields", [{}, {"model": "local/q"}, {"models": ["local/q"]}], ids=["chosen", "model", "models"]
)
async def test_a_private_upstream_never_lends_its_prompts(
    tmp_path: Path, stream: bool, fields: dict[str, object]
) -> None:
    """It fails: a request that was meant for it, or for which it was chosen, fails, too."""
    settings = {"DEFAULT_MODEL": "local/q", "SAFE_START": "true"}
    async with three_upstreams(tmp_path, local=", private: true", **settings) as site:
        site.scripts["local"] = raw.whole({"error": {"message": "down"}}, "500 Internal Server Error")
        assert (await site.chat(stream=stream, **fields))[0] == 502
        assert [len(site.calls(name)) > 0 for name in ("local", "router", "hosted")] == [True, False, False]


async def test_a_slow_upstream_is_given_up_after_its_own_time(site: Site) -> None:
    site.scripts["local"] = raw.silence()
    started = asyncio.get_running_loop().time()
    status, _, body = await site.chat(model="local/q")
    assert (status, "upstream_timeout" in body) == (504, True)
    assert 0.9 < asyncio.get_running_loop().time() - started < 10, "REQUEST_TIMEOUT_S is 600"


async def test_a_policy_of_the_file_is_chosen_by_the_name_of_the_model(site: Site) -> None:
    models = {(await site.chat(model="auto:own"))[1]["x-router-model"] for _ in range(20)}
    assert models == {"small", "local/q"}
    site.path.write_text(site.path.read_text(encoding="utf-8").replace("[small, local/q]", "[v/big]"), encoding="utf-8")
    for _ in range(100):
        _, headers, _ = await site.chat(model="auto:own")
        if headers["x-router-model"] == "v/big":
            break
        await asyncio.sleep(0.1)
    assert headers["x-router-model"] == "v/big"


async def test_a_changed_key_costs_no_readiness_and_no_model(site: Site) -> None:
    """The models are known meanwhile: a name that is none of them is still refused."""
    site.path.write_text(site.path.read_text(encoding="utf-8").replace("key-of-router", "key-two"), encoding="utf-8")
    for _ in range(100):
        async with site.client.get("/ready") as ready:
            assert ready.status == 200
        assert (await site.chat(model="v/big"))[0] == 200
        if site.calls("router")[-1].headers["authorization"] == "Bearer key-two":
            break
        await asyncio.sleep(0.05)
    assert site.calls("router")[-1].headers["authorization"] == "Bearer key-two"


async def until_status(site: Site, wanted: int, arm: str) -> None:
    """Wait until the file has been read again."""
    for _ in range(100):
        if (await site.chat(model=arm))[0] == wanted:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{arm} is never answered with {wanted}")


async def test_the_file_is_used_when_it_changes_and_a_wrong_one_is_not(site: Site) -> None:
    """Without a restart; what is wrong is said, and what was right stays in use."""
    good = site.path.read_text(encoding="utf-8")
    larger = good.replace("policies:", "  - {id: large, upstream: hosted, model: gpt-large}\npolicies:")
    site.path.write_text(larger, encoding="utf-8")
    await until_status(site, 200, "large")
    assert site.calls("hosted")[-1].json["model"] == "gpt-large"
    site.path.write_text(good.replace("policies:", "  - {id: bad, upstream: nowhere}\npolicies:"), encoding="utf-8")
    async with asyncio.timeout(6):
        while "models_file" not in (report := await site.health())["parts"]:
            pass
    assert "models[3].upstream: there is no upstream 'nowhere'" in report["parts"]["models_file"]["detail"]
    assert (await site.chat(model="large"))[0] == 200
    async with site.client.get("/metrics") as answer:
        assert "llm_router_models_file_refused 1.0" in await answer.text()


async def test_a_name_that_was_removed_does_not_go_to_another_upstream(site: Site) -> None:
    """Its prompts were meant for the upstream that it had."""
    good = site.path.read_text(encoding="utf-8")
    lines = [line for line in good.splitlines() if "local" not in line]
    site.scripts["router"] = raw.whole({"error": {"message": "never"}}, "500 Internal Server Error")
    site.path.write_text("\n".join(lines), encoding="utf-8")
    await until_status(site, 404, "local/q")
    assert not site.calls("router")


async def test_a_dead_first_upstream_does_not_stop_the_start(tmp_path: Path) -> None:
    file = FILE.replace("ROUTER", "http://127.0.0.1:1/v1")
    async with three_upstreams(tmp_path, file=file) as site:
        for _ in range(10):
            status, headers, _ = await site.chat()
            assert (status, headers["x-router-model"] != "v/big") == (200, True)
        report = await site.health()
        assert report["upstreams"]["router"]["status"] == "down"
        assert report["parts"]["upstream"]["status"] == "degraded"
