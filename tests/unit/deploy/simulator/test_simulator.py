"""The simulated upstream: shaped like the real one, with exactly the faults that are requested."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.simulator.app import Pace, Simulator
from deploy.simulator.models import InventedWorld, RecordedWorld
from deploy.simulator.recorded_outcomes import load_outcomes
from shared.bandit.free_arms import FREE, ranked
from shared.clients.model_list import arm_of
from shared.settings import Settings

Client = TestClient[Any, Any]
MODEL = "openai/gpt-4o"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = Simulator(InventedWorld(), Pace(speed=100, failures=0), random.Random(0)).application()
    async with TestClient(TestServer(app)) as client:
        yield client


def body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **more}


def events(text: str) -> list[Any]:
    data = [line[6:] for line in text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


async def test_every_default_model_is_offered(client: Client) -> None:
    """The default settings work against it: free models and a model named like DEFAULT_MODEL are listed."""
    listed = (await (await client.get("/v1/models")).json())["data"]
    names = {model["id"] for model in listed}
    assert Settings().LLM_MODELS == (FREE,)
    assert len(ranked(arm for entry in listed if (arm := arm_of(entry)))) == 5
    assert any(name.endswith(Settings().DEFAULT_MODEL) for name in names)
    assert all(isinstance(model["pricing"]["prompt"], str) for model in listed)


async def test_an_answer_names_its_model_and_cost(client: Client) -> None:
    """The cost in `usage` is tokens times the listed price, and the same question gets the same answer."""
    answer = await (await client.post("/v1/chat/completions", json=body())).json()
    again = await (await client.post("/chat/completions", json=body())).json()
    price = InventedWorld().models[MODEL].price
    usage = answer["usage"]
    assert price is not None
    assert answer["model"] == MODEL
    assert usage["cost"] == pytest.approx(price.cost_usd(usage["prompt_tokens"], usage["completion_tokens"]))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert again["choices"] == answer["choices"]


def test_an_invented_quality_is_a_score() -> None:
    """Also that of the best model and of the worst, with their noise."""
    world = InventedWorld()
    for model in world.models.values():
        qualities = [world.reply(model, f"Question {number}", 12).quality for number in range(100)]
        assert 0 <= min(qualities) < max(qualities) <= 1


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_says_what_the_whole_answer_says(client: Client, wanted: bool) -> None:
    """The deltas put together are the answer; a usage chunk comes only on request."""
    whole = await (await client.post("/v1/chat/completions", json=body())).json()
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    answer = await client.post("/v1/chat/completions", json=body(stream=True, **options))
    seen = events(await answer.text())
    assert seen[-1] == "[DONE]"
    chunks = seen[:-1]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == ([whole["usage"]] if wanted else [])


async def test_tools_are_called_once(client: Client) -> None:
    """A request with tools gets a call with arguments of the schema; with the tool's result it gets text."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    answer = await (await client.post("/v1/chat/completions", json=body(tools=tools))).json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]).keys() == {"city", "days"}
    told = [*body()["messages"], choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    answer = await (await client.post("/v1/chat/completions", json=body(tools=tools) | {"messages": told})).json()
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_options_of_the_request_count(client: Client) -> None:
    """`n`, `stop`, `max_tokens` and `response_format` do what they do upstream."""

    async def whole(**more: Any) -> Any:
        return await (await client.post("/v1/chat/completions", json=body(**more))).json()

    async def ask(**more: Any) -> Any:
        return (await whole(**more))["choices"]

    three, one = await whole(n=3), await whole()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]
    assert "simulated" not in (await ask(stop=["simulated"]))[0]["message"]["content"]
    assert (await ask(max_tokens=2))[0]["finish_reason"] == "length"
    assert json.loads((await ask(response_format={"type": "json_object"}))[0]["message"]["content"])


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 429, 500, 502, 503, 529])
async def test_a_status_on_request(client: Client, status: int) -> None:
    """Any error status, with the waiting time where a real upstream gives one."""
    answer = await client.post("/v1/chat/completions", json=body(), headers={"x-simulate": f"status-{status}"})
    assert answer.status == status
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert (await answer.json())["error"]["code"] == status


async def test_a_model_at_its_rate_limit_says_when_to_come_again() -> None:
    """Models that fail by chance answer as a rate limited one does upstream."""
    world = InventedWorld()
    app = Simulator(world, Pace(speed=100, failures=1e6), random.Random(0)).application()
    name = next(name for name, model in world.models.items() if model.failure_rate > 0)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/v1/chat/completions", json=body() | {"model": name})
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["cut", "reset", "hang;seconds=0.01"])
async def test_a_broken_connection_on_request(client: Client, fault: str, stream: bool) -> None:
    """The client sees a broken connection, never a whole answer."""

    async def whole_answer() -> bytes:
        answer = await client.post("/v1/chat/completions", json=body(stream=stream), headers={"x-simulate": fault})
        return await answer.read()

    with pytest.raises(aiohttp.ClientError):
        await whole_answer()


@pytest.mark.parametrize("fault", ["garbage", "html", "empty", "error-200", "cut-clean"])
async def test_a_bad_stream_with_status_200(client: Client, fault: str) -> None:
    """None of them ends as a stream should: with a finish_reason and `[DONE]`."""
    answer = await client.post("/v1/chat/completions", json=body(stream=True), headers={"x-simulate": fault})
    text = await answer.text()
    assert answer.status == 200
    assert "[DONE]" not in text
    assert '"finish_reason": "stop"' not in text


async def test_a_fault_for_one_model_spares_the_others(client: Client) -> None:
    """With `model=` only that model misbehaves."""
    for name, status in ((MODEL, 503), ("openai/gpt-4o-mini", 200)):
        headers = {"x-simulate": f"status-503;model={MODEL}"}
        answer = await client.post("/v1/chat/completions", json=body() | {"model": name}, headers=headers)
        assert answer.status == status


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"model": "openai/gpt-4o"}', b'{"model": "x", "messages": []}'])
async def test_bad_input_is_a_400(client: Client, bad: bytes) -> None:
    """It refuses what the real one refuses, and lives."""
    assert (await client.post("/v1/chat/completions", data=bad)).status == 400
    assert (await client.get("/health")).status == 200


async def test_replay_returns_what_was_recorded() -> None:
    """For a known last message, cost and quality are those of the data, whichever model is asked."""
    outcomes = load_outcomes(None).take(range(5))
    app = Simulator(RecordedWorld(outcomes), Pace(speed=100), random.Random(0)).application()
    async with TestClient(TestServer(app)) as client:
        for row, prompt in enumerate(outcomes.prompts):
            for column, model in enumerate(outcomes.models):
                said = (("user", "Hello"), ("assistant", "Hello, what can I do?"), ("user", prompt))
                messages = [{"role": role, "content": content} for role, content in said]
                answer = await client.post("/v1/chat/completions", json={"model": model, "messages": messages})
                assert float(answer.headers["x-simulated-quality"]) == pytest.approx(outcomes.scores[row, column])
                assert (await answer.json())["usage"]["cost"] == pytest.approx(outcomes.costs[row, column])
