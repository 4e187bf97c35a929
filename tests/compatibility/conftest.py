"""One gateway in front of a simulated upstream, for all clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from deploy.local.probes import http_ok
from deploy.local.servers import Server, free_port, running
from tests.support.gateway_process import Gateway

KEY = "key-of-the-test"


class ServedGateway:
    """Where clients go, and what the simulated models have seen."""

    def __init__(self, gateway: str, simulator: int) -> None:
        self.base_url = f"{gateway}/v1"
        self._simulator = simulator

    def seen(self, text: str) -> list[Any]:
        """Return the bodies whose first message says `text`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._simulator, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/seen")
            bodies = json.load(connection.getresponse())
        return [body for body in bodies if text in json.dumps(body["messages"][0])]


@pytest.fixture(scope="package")
def gateway(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    """A running gateway."""
    folder, port = tmp_path_factory.mktemp("compatibility"), free_port()
    with Redis.from_url(redis_server) as client:
        client.flushall()  # a gateway that an earlier test has killed would count as behind with its records
    command = [sys.executable, "-m", "deploy.simulator", "--port", str(port), "--failures", "0", "--speed", "50"]
    with running(Server("simulator", command, folder / "simulator.log"), port):
        gateway = Gateway(folder, f"http://127.0.0.1:{port}/v1", REDIS_URL=redis_server, API_KEYS=KEY)
        gateway.server.start()
        try:
            gateway.server.wait_for_port(gateway.port)
            while not http_ok(gateway.port, "/ready"):  # pytest's own time limit ends this
                time.sleep(0.05)
            yield ServedGateway(gateway.url, port)
        finally:
            gateway.server.kill()
