"""When `make run` takes its gateway for ready."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from deploy.local import probes
from deploy.local.servers import free_port


class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers /ready as the class attributes say."""

    status, body = 200, b'{"degraded": []}'

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"degraded": ["qdrant"]}'), (503, b'{"reason": "no model is known"}')]
)
def test_what_is_missing_is_waited_for_and_then_started_without(
    port: int, status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream may be away, too: the start goes on and says so."""
    monkeypatch.setattr(Gateway, "status", status)
    monkeypatch.setattr(Gateway, "body", body)
    probe = probes.GatewayProbe(port)
    assert not probe()
    monkeypatch.setattr(probes, "DEGRADED_TIMEOUT_S", 0.0)
    assert probe()


def test_a_gateway_that_lacks_nothing_is_ready_immediately(port: int) -> None:
    """And one that does not answer is not."""
    assert probes.GatewayProbe(port)()
    assert not probes.GatewayProbe(free_port())()
