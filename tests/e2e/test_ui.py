"""The dashboard in a real Chromium: pages on a running stack with traffic, and states without data.

The pictures are in `.local/pictures`: look at them after a change of the pages.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis import Redis

from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port, running
from services.gateway.dashboard.files import STATIC
from shared.schemas.events import FIRST_VERSION
from shared.storage import redis_keys
from tests.support.gateway_process import Gateway
from tests.support.node_packages import LOCK, NotInstalled, install_packages

SOURCE = Path(__file__).parent / "browser"
FOLDER, PICTURES = ROOT / ".local" / "browser", ROOT / ".local" / "pictures"
KEY = "key-of-the-test"
TOPICS = (
    "Sort a list of rivers in Python",
    "Translate 'tree' to French",
    "Write a poem about Peru",
    "What is a whale?",
)

pytestmark = pytest.mark.timeout(400)  # npm may have to install a browser first


@pytest.fixture(scope="module")
def node() -> str:
    """Path of node, with the browser installed beside the scripts."""
    try:
        found = install_packages(SOURCE, FOLDER)
    except NotInstalled as error:
        pytest.skip(f"NOT TESTED: {error}")
    for script in SOURCE.glob("*.mjs"):  # beside their node_modules
        (FOLDER / script.name).write_bytes(script.read_bytes())
    PICTURES.mkdir(parents=True, exist_ok=True)
    return found


async def traffic(client: aiohttp.ClientSession) -> str:
    """Send requests, rate most of them, and wait until they are learned; return the id of the last one."""
    ids = [f"ui-{uuid.uuid4().hex[:12]}" for _ in range(24)]
    for number, request_id in enumerate(ids):
        body = {"messages": [{"role": "user", "content": f"{TOPICS[number % len(TOPICS)]} {number}"}]}
        async with client.post("/chat/completions", json=body, headers={"X-Request-ID": request_id}) as answer:
            assert answer.status == 200, await answer.text()
        rating = {"request_id": request_id, "score": (number % 5) / 4}
        async with client.post("/feedback", json=rating) as rated:
            assert rated.status == 202
    for _ in range(300):
        if await learned(client, ids[-1]):
            return ids[-1]
        await asyncio.sleep(0.2)
    raise AssertionError("the traffic was not learned")


async def learned(client: aiohttp.ClientSession, request_id: str) -> bool:
    """Return whether a rating has reached the sums, and the sums the gateway."""
    async with client.get(f"/requests/{request_id}") as found, client.get("/arms?kinds=1") as arms:
        record, belief = await found.json(), await arms.json()
    labels = sum(arm["labels"] for arm in belief["data"])
    return bool(record["learned"]["feedback"] and labels > 20 and belief["kinds"])


def report(lines: str) -> dict[str, Any]:
    """Return the error of each check; None where it holds."""
    return {one["check"]: one["error"] for one in map(json.loads, lines.splitlines())}


async def test_every_page_shows_what_the_api_says(node: str, client: aiohttp.ClientSession) -> None:
    """Wide and on a phone, light and dark: no error, no violation of the policy, no other host, accessible."""
    request_id = await traffic(client)
    assert client._base_url is not None
    address = str(client._base_url).rstrip("/")
    command = [node, str(FOLDER / "pages.mjs"), address, str(PICTURES), request_id]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()  # node ends its browser
    checks = report(out.decode())
    assert {name: error for name, error in checks.items() if error} == {}
    assert process.returncode == 0
    assert len(checks) == 45


@pytest.fixture
def keyed_gateway(redis_server: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that asks for a key and has seen no request."""
    port = free_port()
    with Redis.from_url(redis_server) as redis:
        redis.flushall()
    command = [sys.executable, "-m", "deploy.simulator", "--port", str(port), "--failures", "0"]
    with running(Server("simulator", command, tmp_path / "simulator.log"), port):
        keys = {"API_KEYS": "key-of-a-user", "ADMIN_API_KEYS": KEY}
        gateway = Gateway(tmp_path, f"http://127.0.0.1:{port}/v1", REDIS_URL=redis_server, **keys)
        try:
            asyncio.run(gateway.start())
            yield gateway
        finally:
            gateway.server.kill()


def bury(redis_url: str) -> None:
    """Add a dead letter, as a learner does."""
    event = {"id": "a-request", "kind": "outcome", "revision": 1, "v": FIRST_VERSION}
    with Redis.from_url(redis_url) as redis:
        redis.xadd(redis_keys.DEAD, {**event, "reason": "the test has buried it"})


def test_states_and_changes_by_an_admin(node: str, keyed_gateway: Gateway, redis_server: str) -> None:
    """No key, a wrong one, nothing to show yet, changes with an admin key, and a gateway that is gone."""
    actions = {"bury an event": lambda: bury(redis_server), "stop the gateway": keyed_gateway.server.kill}
    command = [node, str(FOLDER / "states.mjs"), keyed_gateway.url, KEY, str(PICTURES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            action = actions.get(json.loads(line)["check"])
            if action is not None:
                action()
                print("go on", file=process.stdin, flush=True)
    checks = report("".join(lines))
    assert {name: error for name, error in checks.items() if error} == {}
    assert len(checks) == 10


def test_vendored_libraries_are_those_of_npm(node: str) -> None:
    """`npm ci` has compared the packages with npm's integrity; the files in the product are the same bytes."""
    locked = json.loads((SOURCE / LOCK).read_text("utf-8"))["packages"]
    for row in json.loads((STATIC / "vendor" / "vendor.json").read_text("utf-8")):
        package = f"node_modules/{row['package']}"
        assert (locked[package]["version"], locked[package]["integrity"]) == (row["version"], row["integrity"])
        assert (FOLDER / package / row["path"]).read_bytes() == (STATIC / "vendor" / row["file"]).read_bytes()
