"""The dashboard: every panel has data in a real Prometheus that scraped the whole stack under traffic."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port, running
from deploy.local.stack import Stack

DASHBOARD = ROOT / "deploy/grafana/dashboards/llm-router.json"
WINDOW = "20s"
SCRAPES = 4
MAY_BE_EMPTY = {"Failed upstream calls", "Lift, measured", "Failed calls of evaluations"}
"""This upstream never fails, and this stack has no control group and no judge."""


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[str]:
    """URL of a Prometheus with our rules that scrapes the stack every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("!!! prometheus is not on PATH (Debian: apt-get install prometheus): no panel was checked")
    urls = {part.name: part.url for part in stack.plan.parts}
    jobs = {name: urlsplit(urls[name]).netloc for name in ("gateway", "embedder", "learner")}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus" / name) for name in ("rules.yml", "alerts.yml")],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [place]}]} for name, place in jobs.items()
        ],
    }
    path, port = tmp_path / "prometheus.yml", free_port()
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [program, f"--config.file={path}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with running(Server("prometheus", command, tmp_path / "log"), port):
        yield f"http://127.0.0.1:{port}"


async def ask(session: aiohttp.ClientSession, url: str, expression: str) -> Any:
    async with session.get(f"{url}/api/v1/query", params={"query": expression}) as answer:
        body = await answer.json()
    assert body["status"] == "success", (expression, body)
    return body["data"]["result"]


async def one_client(client: aiohttp.ClientSession, number: int) -> None:
    """Ask, streamed or whole, and rate what is whole."""
    name = f"dashboard-{uuid.uuid4()}"
    body = {"messages": [{"role": "user", "content": f"What is {number}?"}], "stream": number % 3 == 0}
    async with client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": name}) as answer:
        assert answer.status == 200
        await answer.read()
    async with client.post("/feedback", json={"request_id": name, "score": 0.5}) as answer:
        assert answer.status == 202


async def test_every_panel_shows_something(stack: Stack, client: aiohttp.ClientSession, prometheus: str) -> None:
    """No panel's query is an error, and where traffic should show it, it does; no alert fires on a healthy stack."""
    until = time.monotonic() + 60
    number = 0
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            await asyncio.gather(*(one_client(client, number + i) for i in range(4)))
            number += 4
            scraped = await ask(session, prometheus, 'min(count_over_time(up{job=~"gateway|learner"}[1m]))')
            if scraped and float(scraped[0]["value"][1]) >= SCRAPES and number >= 40:
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.5)  # one more scrape, and the rules
        empty = []
        for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", WINDOW)
                found = await ask(session, prometheus, expression)
                if not found and panel["title"] not in MAY_BE_EMPTY:
                    empty.append((panel["title"], expression))
        assert empty == []
        firing = await ask(session, prometheus, 'ALERTS{alertstate="firing"}')
        assert firing == []
        answered = await ask(session, prometheus, 'sum(llm_router_outcomes_total{status="answered"})')
        assert float(answered[0]["value"][1]) >= number
