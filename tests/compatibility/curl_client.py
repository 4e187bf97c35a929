"""curl against a gateway: one JSON line a feature. Arguments: base URL, key."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

BASE_URL, KEY = sys.argv[1:3]


def curl(path: str, body: object = None, *options: str) -> tuple[int, str]:
    command = ["curl", "-sS", "-m", "20", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {KEY}", *options]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    out = subprocess.run([*command, f"{BASE_URL}{path}"], capture_output=True, text=True, check=True).stdout
    text, _, status = out.rpartition("\n")
    return int(status), text


def create(feature: str, *options: str, **more: Any) -> tuple[int, str]:
    return curl("/chat/completions", {"messages": [{"role": "user", "content": f"curl {feature}"}], **more}, *options)


def answer(feature: str, **more: Any) -> Any:
    status, text = create(feature, **more)
    assert status == 200, text
    return json.loads(text)


def chat() -> None:
    assert answer("chat")["choices"][0]["message"]["content"]


def stream() -> None:
    status, text = create("stream", "-N", stream=True)
    assert status == 200
    assert text.endswith("data: [DONE]\n\n")
    assert '"usage":{' not in text.replace(" ", "")


def usage() -> None:
    _, text = create("usage", stream=True, stream_options={"include_usage": True})
    assert json.loads(text.split("\n\n")[-3].removeprefix("data: "))["usage"]["total_tokens"] > 0


def tools() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    called = answer("tools", tools=[tool])["choices"][0]["message"]["tool_calls"]
    assert called[0]["function"]["name"] == "weather"


def structured() -> None:
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"answer": {}}}},
    }
    assert "answer" in json.loads(answer("structured", response_format=wanted)["choices"][0]["message"]["content"])


def image() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    message = {"role": "user", "content": [{"type": "text", "text": "curl image"}, picture]}
    assert answer("image", messages=[message])["id"]


def n() -> None:
    assert len(answer("n", n=2)["choices"]) == 2


def stop() -> None:
    said = answer("stop", stop=["simulated answer"])["choices"][0]["message"]["content"]
    assert "simulated answer" not in said


def logprobs() -> None:
    assert answer("logprobs", logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]


def unknown() -> None:
    assert answer("unknown", some_new_field={"a": 1})["id"]


def models() -> None:
    status, text = curl("/models")
    assert (status, json.loads(text)["data"][0]["id"]) == (200, "auto")


def errors() -> None:
    for status, code, more, options in (
        (400, "invalid_type", {"temperature": "hot"}, ()),
        (404, "model_not_found", {"model": "x/none"}, ()),
        (429, "upstream_rate_limited", {}, ("-H", "x-simulate: status-429")),
        (502, "upstream_error", {}, ("-H", "x-simulate: status-500")),
    ):
        got, text = create("errors", *options, **more)
        assert (got, json.loads(text)["error"]["code"]) == (status, code)


def cut() -> None:
    _, text = create("cut", "-H", "x-simulate: cut", stream=True)
    assert json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "upstream_cut"


for run in (chat, stream, usage, tools, structured, image, n, stop, logprobs, unknown, models, errors, cut):
    problem = None
    try:
        run()
    except Exception as caught:  # noqa: BLE001 - told to the test
        problem = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"feature": run.__name__, "error": problem}), flush=True)
